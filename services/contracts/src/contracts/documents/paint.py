"""Pages become PDF bytes: the same pages always become the same bytes, on any machine."""

import io
from collections.abc import Sequence
from typing import Any

from reportlab.pdfgen.canvas import Canvas

from contracts.documents import fonts
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
    Words,
)

_FOOTER = 44.0


def paint(blocks: Sequence[Block], *, footer: str, title: str, subject: str) -> bytes:
    """The PDF of these blocks, each page with a footer and `Page x of y`.

    Nothing is compressed: zlib's output differs between its builds, and the hash must not.
    """
    fonts.load()
    layout = Layout()
    for block in blocks:
        layout.add(block)
    file = io.BytesIO()
    canvas = Canvas(
        file, pagesize=(PAGE_WIDTH, PAGE_HEIGHT), invariant=1, pageCompression=0, lang="en"
    )
    canvas.setTitle(title)
    canvas.setSubject(subject)
    canvas.setAuthor("Bloxtr8")
    canvas.setCreator("Bloxtr8 contracts")
    for number, marks in enumerate(layout.pages, 1):
        for mark in marks:
            _mark(canvas, mark)
        _mark(canvas, Line(LEFT, RIGHT, _FOOTER + 14, HAIRLINE, 0.7))
        _mark(canvas, Words(LEFT, _FOOTER, footer, fonts.REGULAR, 7.5, GREY))
        place = f"Page {number} of {len(layout.pages)}"
        right = RIGHT - fonts.width(place, fonts.REGULAR, 7.5)
        _mark(canvas, Words(right, _FOOTER, place, fonts.REGULAR, 7.5, GREY))
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def _mark(canvas: Any, mark: Words | Line) -> None:
    match mark:
        case Words():
            canvas.setFont(mark.font, mark.size)
            canvas.setFillColor(mark.colour)
            canvas.drawString(mark.x, mark.y, mark.text)
        case Line():
            canvas.setStrokeColor(mark.colour)
            canvas.setLineWidth(mark.thickness)
            canvas.line(mark.x1, mark.y, mark.x2, mark.y)
