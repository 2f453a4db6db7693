"""The parts documents are laid out of, and how they fall onto A4 pages."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from contracts.documents.fonts import BOLD, REGULAR, visible, width

PAGE_WIDTH, PAGE_HEIGHT = 595.28, 841.89
LEFT, RIGHT, TOP, BOTTOM = 64.0, PAGE_WIDTH - 64.0, PAGE_HEIGHT - 72.0, 76.0
LABELS = 132.0
"""Width of the column of labels, in points."""
INK, GREY, ACCENT, HAIRLINE = "#1b2430", "#5b6675", "#1d3a6b", "#cfd6df"

Row = tuple[str, str]


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

    title: str | None
    rows: Sequence[Row]


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

    clauses: Sequence[Row]


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
    font: str
    size: float
    colour: str


@dataclass(frozen=True)
class Line:
    x1: float
    x2: float
    y: float
    colour: str
    thickness: float


@dataclass
class Layout:
    """Blocks become words and lines at fixed places, page by page."""

    pages: list[list[Words | Line]] = field(default_factory=lambda: [[]])
    y: float = TOP

    def add(self, block: Block) -> None:
        match block:
            case Title():
                self._title(block)
            case Heading(text):
                self._heading(text)
            case Facts(title, rows):
                self._facts(title, rows)
            case Text(text):
                self._paragraph(text, indent=10)
                self.y -= 4
            case Note(text):
                self._paragraph(text, colour=GREY)
                self.y -= 4
            case Clauses(clauses):
                for number, (heading, text) in enumerate(clauses, 1):
                    self._clause(number, heading, text)
            case Signatures(parties):
                self._signatures(parties)

    def _put(self, mark: Words | Line) -> None:
        self.pages[-1].append(mark)

    def _need(self, points: float) -> None:
        """Begin a new page unless so much is left of this one."""
        if self.y - points < BOTTOM:
            self.pages.append([])
            self.y = TOP

    def _paragraph(
        self,
        text: str,
        *,
        font: str = REGULAR,
        size: float = 9.5,
        colour: str = INK,
        indent: float = 0,
        leading: float = 13.5,
    ) -> None:
        for line in wrapped(text, font, size, RIGHT - LEFT - indent):
            self._need(leading)
            self._put(Words(LEFT + indent, self.y, line, font, size, colour))
            self.y -= leading

    def _title(self, block: Title) -> None:
        self.y -= 14
        self._paragraph(block.text, font=BOLD, size=22, colour=ACCENT, leading=27)
        self._put(Line(LEFT, RIGHT, self.y + 12, ACCENT, 1.4))
        self.y -= 10
        self._paragraph(block.lead, colour=GREY)
        self.y -= 4
        for role, name in block.names:
            self.y -= 6
            self._paragraph(name, font=BOLD, size=13, leading=14)
            self._paragraph(role, colour=GREY, size=8.5, leading=14)

    def _heading(self, text: str) -> None:
        self._need(76)
        self.y -= 13
        self._paragraph(text, font=BOLD, size=12, colour=ACCENT, leading=8)
        self._put(Line(LEFT, RIGHT, self.y + 2.5, HAIRLINE, 0.7))
        self.y -= 12

    def _facts(self, title: str | None, rows: Sequence[Row]) -> None:
        if title:
            self._need(44)
            self.y -= 2
            self._paragraph(title, font=BOLD, leading=14)
        for label, value in rows:
            lines = list(wrapped(value, REGULAR, 9.5, RIGHT - LEFT - LABELS))
            for number, line in enumerate(lines):
                self._need(14)
                if number == 0:
                    self._put(Words(LEFT, self.y, label, REGULAR, 8.5, GREY))
                self._put(Words(LEFT + LABELS, self.y, line, REGULAR, 9.5, INK))
                self.y -= 14
        self.y -= 5

    def _clause(self, number: int, heading: str, text: str) -> None:
        self._need(46)
        self._put(Words(LEFT, self.y, f"{number}.", BOLD, 9.5, ACCENT))
        self._paragraph(heading, font=BOLD, indent=24, leading=13.5)
        self._paragraph(text, indent=24)
        self.y -= 6

    def _signatures(self, parties: Sequence[Row]) -> None:
        self._need(86)
        self.y -= 44
        column = (RIGHT - LEFT + 24) / len(parties)
        for number, (role, name) in enumerate(parties):
            left = LEFT + number * column
            self._put(Line(left, left + column - 24, self.y + 12, INK, 0.7))
            first = next(wrapped(name, BOLD, 9.5, column - 24))
            self._put(Words(left, self.y, first, BOLD, 9.5, INK))
            self._put(Words(left, self.y - 12, role, REGULAR, 8.5, GREY))
        self.y -= 30
        self._paragraph(
            "Signed electronically: who signed, when and how is stated on the certificate of"
            " signatures of the executed contract.",
            colour=GREY,
            size=8.5,
        )
        self.y -= 8


def wrapped(text: str, font: str, size: float, space: float) -> Iterator[str]:
    """The lines a text fills; a word wider than the space is broken where it must be."""
    for paragraph in visible(text, font).split("\n"):
        line, used = "", 0.0
        for word in re.findall(r" *[^ ]+ *|^ *$", paragraph):
            wide = width(word.rstrip(), font, size)
            if used + wide > space and line:
                yield line.rstrip()
                line, used = "", 0.0
                word = word.lstrip()  # noqa: PLW2901 - the line break stands for the spaces
            if wide > space:
                *full, word = _broken(word, font, size, space)  # noqa: PLW2901 - its last piece
                yield from full
            line += word
            used += width(word, font, size)
        yield line.rstrip()


def _broken(word: str, font: str, size: float, space: float) -> Iterator[str]:
    piece, used = "", 0.0
    for character in word:
        wide = width(character, font, size)
        if used + wide > space and piece:
            yield piece
            piece, used = "", 0.0
        piece += character
        used += wide
    yield piece
