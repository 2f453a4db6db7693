"""The parts documents are laid out of, and how they fall onto A4 pages."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import regex

from contracts.documents.fonts import BOLD, REGULAR, clusters, visible
from contracts.documents.shaping import LEFT_TO_RIGHT, is_right_to_left, width

PAGE_WIDTH, PAGE_HEIGHT = 595.28, 841.89
LEFT, RIGHT, TOP, BOTTOM = 64.0, PAGE_WIDTH - 64.0, PAGE_HEIGHT - 72.0, 76.0
LABELS = 132.0
"""Width of the column of labels, in points."""
PICTURE = 84.0
"""Side of the square that a picture fills."""
INK, GREY, ACCENT, HAIRLINE = "#1b2430", "#5b6675", "#1d3a6b", "#cfd6df"

_WORD = regex.compile(
    r" *(?:[\p{Han}\p{Hiragana}\p{Katakana}]\p{M}*|(?:(?![\p{Han}\p{Hiragana}\p{Katakana}])[^ ])+)"
    r"[\p{Pe}\p{Pf}\u3001\u3002\uff01\uff0c\uff0e\uff1a\uff1b\uff1f\u30fc]* *|^ *$"
)
"""East Asian lines may end after any character, but none begins with a closing mark."""
Said = str | Sequence[str]
"""A text, or the words of the document and of users in turn, kept apart by their order."""
Row = tuple[str, str]
Told = tuple[str, Said]


@dataclass(frozen=True)
class Title:
    text: str
    lead: str
    names: Sequence[Row]


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Facts:
    """Labelled values."""

    title: Said | None
    rows: Sequence[Told]
    picture: bytes | None = None
    """A JPEG, at the right of the values."""


@dataclass(frozen=True)
class Text:
    """Words of a user, kept as they are."""

    text: str


@dataclass(frozen=True)
class Note:
    text: str


@dataclass(frozen=True)
class Clauses:
    """Numbered from 1: heading and text."""

    clauses: Sequence[Told]


@dataclass(frozen=True)
class Signatures:
    """A line to sign on for each role and name."""

    parties: Sequence[Row]


Block = Title | Heading | Facts | Text | Note | Clauses | Signatures


@dataclass(frozen=True)
class Words:
    x: float
    y: float
    text: str
    weight: int
    size: float
    colour: str
    is_reversed: bool = False
    """Whether its paragraph reads from the right."""


@dataclass(frozen=True)
class Line:
    x1: float
    x2: float
    y: float
    colour: str
    thickness: float


@dataclass(frozen=True)
class Picture:
    """A JPEG in a square with this lower left corner."""

    x: float
    y: float
    side: float
    jpeg: bytes


Mark = Words | Line | Picture


@dataclass
class Layout:
    """Blocks become words and lines at fixed places, page by page."""

    pages: list[list[Mark]] = field(default_factory=lambda: [[]])
    y: float = TOP

    def add(self, block: Block) -> None:
        match block:
            case Title():
                self._title(block)
            case Heading(text):
                self._heading(text)
            case Facts(title, rows, picture):
                self._facts(title, rows, picture)
            case Text(words):
                self._paragraph(words, indent=10, from_the_right=True)
                self.y -= 4
            case Note(text):
                self._paragraph(text, colour=GREY)
                self.y -= 4
            case Clauses(clauses):
                for number, (heading, said) in enumerate(clauses, 1):
                    self._clause(number, heading, said)
            case Signatures(parties):
                self._signatures(parties)

    def _put(self, mark: Mark) -> None:
        self.pages[-1].append(mark)

    def _need(self, points: float) -> None:
        """Begin a new page unless so much is left of this one."""
        if self.y - points < BOTTOM:
            self.pages.append([])
            self.y = TOP

    def _paragraph(
        self,
        text: Said,
        *,
        weight: int = REGULAR,
        size: float = 9.5,
        colour: str = INK,
        indent: float = 0,
        leading: float = 13.5,
        from_the_right: bool = False,
    ) -> None:
        """`from_the_right`: what reads from the right also stands there."""
        for shown in paragraphs(text):
            is_reversed = isinstance(text, str) and is_right_to_left(shown)
            for line in wrapped(shown, weight, size, RIGHT - LEFT - indent):
                self._need(leading)
                x = LEFT + indent
                if is_reversed and from_the_right:
                    x = RIGHT - width(line, weight, size)
                self._put(Words(x, self.y, line, weight, size, colour, is_reversed))
                self.y -= leading

    def _title(self, block: Title) -> None:
        self.y -= 14
        self._paragraph(block.text, weight=BOLD, size=22, colour=ACCENT, leading=27)
        self._put(Line(LEFT, RIGHT, self.y + 12, ACCENT, 1.4))
        self.y -= 10
        self._paragraph(block.lead, colour=GREY)
        self.y -= 4
        for role, name in block.names:
            self.y -= 6
            self._paragraph(name, weight=BOLD, size=13, leading=14)
            self._paragraph(role, colour=GREY, size=8.5, leading=14)

    def _heading(self, text: str) -> None:
        self._need(76)
        self.y -= 13
        self._paragraph(text, weight=BOLD, size=12, colour=ACCENT, leading=8)
        self._put(Line(LEFT, RIGHT, self.y + 2.5, HAIRLINE, 0.7))
        self.y -= 12

    def _facts(self, title: Said | None, rows: Sequence[Told], picture: bytes | None) -> None:
        if title:
            self._need(44)
            self.y -= 2
            self._paragraph(title, weight=BOLD, leading=14)
        space, page, below = RIGHT - LEFT - LABELS, len(self.pages), self.y
        if picture:
            self._need(PICTURE)
            page, below = len(self.pages), self.y + 9 - PICTURE
            self._put(Picture(RIGHT - PICTURE, below, PICTURE, picture))
            space -= PICTURE + 12
        for label, value in rows:
            self._need(14)
            self._put(Words(LEFT, self.y, label, REGULAR, 8.5, GREY))
            for shown in paragraphs(value):
                is_reversed = isinstance(value, str) and is_right_to_left(shown)
                for line in wrapped(shown, REGULAR, 9.5, space):
                    self._need(14)
                    x = LEFT + LABELS
                    self._put(Words(x, self.y, line, REGULAR, 9.5, INK, is_reversed))
                    self.y -= 14
        if picture and page == len(self.pages):
            self.y = min(self.y, below - 5)
        self.y -= 5

    def _clause(self, number: int, heading: str, text: Said) -> None:
        self._need(46)
        self._put(Words(LEFT, self.y, f"{number}.", BOLD, 9.5, ACCENT))
        self._paragraph(heading, weight=BOLD, indent=24, leading=13.5)
        self._paragraph(text, indent=24)
        self.y -= 6

    def _signatures(self, parties: Sequence[Row]) -> None:
        self._need(86)
        self.y -= 44
        column = (RIGHT - LEFT + 24) / len(parties)
        for number, (role, name) in enumerate(parties):
            left = LEFT + number * column
            self._put(Line(left, left + column - 24, self.y + 12, INK, 0.7))
            first = wrapped(next(paragraphs(name)), BOLD, 9.5, column - 24)[0]
            self._put(Words(left, self.y, first, BOLD, 9.5, INK, is_right_to_left(first)))
            self._put(Words(left, self.y - 12, role, REGULAR, 8.5, GREY))
        self.y -= 30
        self._paragraph(
            "Signed electronically: who signed, when and how is stated on the certificate of"
            " signatures of the executed contract.",
            colour=GREY,
            size=8.5,
        )
        self.y -= 8


def paragraphs(text: Said) -> Iterator[str]:
    """The paragraphs as they can be shown; of parts, the users' cannot reorder the document's."""
    parts = [text] if isinstance(text, str) else text
    yield from LEFT_TO_RIGHT.join(map(visible, parts)).split("\n")


@functools.lru_cache(maxsize=500)
def wrapped(paragraph: str, weight: int, size: float, space: float) -> tuple[str, ...]:
    """The lines it fills; a word wider than the space is broken where it must be."""
    return tuple(_wrapped(paragraph, weight, size, space))


def _wrapped(paragraph: str, weight: int, size: float, space: float) -> Iterator[str]:
    line, used = "", 0.0
    for word in _WORD.findall(paragraph) or [""]:
        wide = width(word.rstrip(), weight, size)
        if used + wide > space and line:
            yield line.rstrip()
            line, used = "", 0.0
            word = word.lstrip()  # noqa: PLW2901 - the line break stands for the spaces
        if wide > space:
            *full, word = _broken(word, weight, size, space)  # noqa: PLW2901 - its last piece
            yield from full
        line += word
        used += width(word, weight, size)
    yield line.rstrip()


def _broken(word: str, weight: int, size: float, space: float) -> Iterator[str]:
    piece, used = "", 0.0
    for cluster in clusters(word):
        wide = width(cluster, weight, size)
        if used + wide > space and piece:
            yield piece
            piece, used = "", 0.0
        piece += cluster
        used += wide
    yield piece
