"""The embedded faces (FiraGO, SIL OFL 1.1): Latin, Cyrillic, Greek, Arabic, Hebrew, Thai,
Devanagari and Georgian letters; any other character is shown by its number, never left out.
"""

import functools
import io
import unicodedata

import pymupdf_fonts
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR = "FiraGO"
BOLD = "FiraGO-Bold"
_SOURCES = {REGULAR: "figo", BOLD: "figbo"}
_SPACES = {"\t": "    ", "\u00a0": " ", "\u202f": " ", "\u2028": "\n", "\u2029": "\n"}
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Controls, direction overrides, zero-width marks and unassigned: what a reader could not see."""


@functools.cache
def load() -> dict[str, frozenset[int]]:
    """Register the faces once a process; returns the characters of each."""
    known = {}
    for name, source in _SOURCES.items():
        font = TTFont(name, io.BytesIO(pymupdf_fonts.fontbuffers[source]()))
        pdfmetrics.registerFont(font)
        known[name] = frozenset(font.face.charToGlyph)
    return known


def visible(text: str, font: str) -> str:
    """The text as the font can show it; what it cannot show, and all that is invisible by nature
    (controls, direction overrides), becomes `[U+202E]`.
    """
    glyphs = load()[font]
    shown = []
    for character in text.replace("\r\n", "\n").replace("\r", "\n"):
        plain = _SPACES.get(character, character)
        if plain.strip("\n ") == "" or (
            ord(plain) in glyphs and unicodedata.category(plain) not in _INVISIBLE
        ):
            shown.append(plain)
        else:
            shown.append(f"[U+{ord(character):04X}]")
    return "".join(shown)


@functools.lru_cache(maxsize=20_000)
def width(text: str, font: str, size: float) -> float:
    """In points; the words of clauses come again in every contract."""
    return float(pdfmetrics.stringWidth(text, font, size))
