"""Pages become PDF bytes: the same pages always become the same bytes, on any machine."""

import functools
import io
from collections.abc import Sequence
from typing import Any

from reportlab.pdfgen.canvas import Canvas

from contracts.documents.embedding import Embedding, embed_picture
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
from contracts.documents.shaping import line, width

_FOOTER = 44.0


def paint(blocks: Sequence[Block], *, footer: str, title: str, subject: str) -> bytes:
    """The PDF of these blocks, each page with a footer and `Page x of y`.

    Nothing is compressed: zlib's output differs between its builds, and the hash must not.
    """
    layout = Layout()
    for block in blocks:
        layout.add(block)
    file = io.BytesIO()
    canvas = Canvas(
        file, pagesize=(PAGE_WIDTH, PAGE_HEIGHT), invariant=1, pageCompression=0, lang="en"
    )
    canvas._preamble = ""  # noqa: SLF001 - it would name a font that is not embedded
    canvas.setTitle(title)
    canvas.setSubject(subject)
    canvas.setAuthor("Bloxtr8")
    canvas.setCreator("Bloxtr8 contracts")
    faces = Embedding()
    for number, marks in enumerate(layout.pages, 1):
        place = f"Page {number} of {len(layout.pages)}"
        right = RIGHT - width(place, REGULAR, 7.5)
        for mark in (
            *marks,
            Line(LEFT, RIGHT, _FOOTER + 14, HAIRLINE, 0.7),
            Words(LEFT, _FOOTER, footer, REGULAR, 7.5, GREY),
            Words(right, _FOOTER, place, REGULAR, 7.5, GREY),
        ):
            _draw(canvas, faces, mark)
        canvas.showPage()
    faces.finish(canvas)
    canvas.save()
    return file.getvalue()


def _draw(canvas: Any, faces: Embedding, mark: Mark) -> None:
    operators = canvas._code  # noqa: SLF001 - where canvas collects a page's
    match mark:
        case Words(x, y, text, weight, size, colour, is_reversed):
            runs = line(text, weight, is_reversed=is_reversed)
            words = " ".join(faces.draw(run, size) for run in runs)
            operators.append(f"{_rgb(colour)} rg BT {x:.2f} {y:.2f} Td {words} ET")
        case Line(x1, x2, y, colour, thickness):
            stroke = f"{x1:.2f} {y:.2f} m {x2:.2f} {y:.2f} l S"
            operators.append(f"{_rgb(colour)} RG {thickness:g} w {stroke}")
        case Picture(x, y, side, jpeg):
            operators.append(f"q {side:g} 0 0 {side:g} {x:.2f} {y:.2f} cm")
            canvas.doForm(embed_picture(canvas, jpeg))
            operators.append("Q")


@functools.cache
def _rgb(colour: str) -> str:
    """`#1b2430` as PDF takes it."""
    return " ".join(f"{part / 255:.3f}" for part in bytes.fromhex(colour[1:]))
