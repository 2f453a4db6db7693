"""Pages become objects of PDF: the same pages always become the same bytes, on any machine."""

import functools
import hashlib
from collections.abc import Sequence

from contracts.documents.embedding import Embedding
from contracts.documents.fonts import REGULAR
from contracts.documents.page import (
    GREY,
    HAIRLINE,
    LEFT,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    RIGHT,
    Block,
    Layout,
    Line,
    Mark,
    Picture,
    Words,
)
from contracts.documents.pdf import NewFile, Pages, dictionary, stream
from contracts.documents.pictures import PIXELS
from contracts.documents.shaping import width

_FOOTER = 44.0


def paint(blocks: Sequence[Block], *, footer: str, title: str, subject: str) -> bytes:
    """The PDF of these blocks, each page with a footer and `Page x of y`.

    Nothing is compressed: zlib's output differs between its builds, and the hash must not.
    """
    file = NewFile()
    about = {"Author": "Bloxtr8", "Creator": "Bloxtr8 contracts"}
    return file.finished(
        paint_onto(file, blocks, footer=footer), about | {"Title": title, "Subject": subject}
    )


def paint_onto(file: Pages, blocks: Sequence[Block], *, footer: str) -> list[str]:
    """References of pages that have been added to a file."""
    layout = Layout()
    for block in blocks:
        layout.add(block)
    faces, pictures = Embedding(), dict[bytes, str]()
    contents = []
    for number, marks in enumerate(layout.pages, 1):
        place = f"Page {number} of {len(layout.pages)}"
        right = RIGHT - width(place, REGULAR, 7.5)
        below = (
            Line(LEFT, RIGHT, _FOOTER + 14, HAIRLINE, 0.7),
            Words(LEFT, _FOOTER, footer, REGULAR, 7.5, GREY),
            Words(right, _FOOTER, place, REGULAR, 7.5, GREY),
        )
        drawn = "\n".join(_drawn(mark, faces, pictures) for mark in (*marks, *below))
        contents.append(file.add(stream(drawn.encode("ascii"))))
    fonts = faces.finish(file)
    shown = {name: file.add(_embedded(jpeg)) for jpeg, name in pictures.items()}
    resources = dictionary(Font=fonts, XObject=dictionary(**shown).decode()).decode()
    return [
        file.add(
            dictionary(
                Type="/Page",
                Parent=file.tree,
                MediaBox=f"[0 0 {PAGE_WIDTH:g} {PAGE_HEIGHT:g}]",
                Resources=resources,
                Contents=content,
            )
        )
        for content in contents
    ]


def _drawn(mark: Mark, faces: Embedding, pictures: dict[bytes, str]) -> str:
    match mark:
        case Words(x, y, text, weight, size, colour, is_reversed):
            words = faces.draw(text, weight, size, is_reversed=is_reversed)
            return f"{_rgb(colour)} rg BT {x:.2f} {y:.2f} Td {words} ET"
        case Line(x1, x2, y, colour, thickness):
            stroke = f"{x1:.2f} {y:.2f} m {x2:.2f} {y:.2f} l S"
            return f"{_rgb(colour)} RG {thickness:g} w {stroke}"
        case Picture(x, y, side, jpeg):
            name = pictures.setdefault(jpeg, f"Picture-{hashlib.sha256(jpeg).hexdigest()}")
            return f"q {side:g} 0 0 {side:g} {x:.2f} {y:.2f} cm /{name} Do Q"


def _embedded(jpeg: bytes) -> bytes:
    """A picture of `PIXELS` a side, taken over byte for byte."""
    return stream(
        jpeg,
        Type="/XObject",
        Subtype="/Image",
        Width=str(PIXELS),
        Height=str(PIXELS),
        ColorSpace="/DeviceRGB",
        BitsPerComponent="8",
        Filter="/DCTDecode",
    )


@functools.cache
def _rgb(colour: str) -> str:
    """`#1b2430` as PDF takes it."""
    return " ".join(f"{part / 255:.3f}" for part in bytes.fromhex(colour[1:]))
