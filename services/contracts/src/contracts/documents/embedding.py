"""The faces of one document: text is drawn by the numbers of its glyphs, and at the end the glyphs
that were drawn are embedded, at the weight they were drawn in, with the letters they stand for, so
that text can be found and copied.

FiraGO is always embedded with all of ASCII and its ligatures: so documents that say nothing else
have the same subsets, which are made once.
"""

import functools
import hashlib
import sys
from array import array
from typing import NamedTuple

import uharfbuzz as hb

from contracts.documents.fonts import ASCII, BOLD, FIRAGO, LIGATURES, Face, opened, scaled
from contracts.documents.pdf import Pages, dictionary, stream
from contracts.documents.shaping import line, own

_UNNEEDED = [
    int.from_bytes(tag)
    for tag in (
        *(b"BASE", b"DSIG", b"GDEF", b"GPOS", b"GSUB", b"MATH", b"OS/2", b"STAT", b"VORG"),
        *(b"cmap", b"gasp", b"kern", b"meta", b"name", b"post", b"vhea", b"vmtx"),
    )
]
"""Tables that only matter before text is shaped."""
_CMAP = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
{letters}
endcmap
CMapName currentdict /CMap defineresource pop
end
end"""
_LETTERS_AT_ONCE = 100

Letters = tuple[tuple[int, str], ...]
"""Glyphs and the characters that each stands for, where it was drawn first."""


class Embedding:
    """Which glyphs a document has drawn."""

    def __init__(self) -> None:
        self._used: dict[Face, dict[int, str]] = {}

    def draw(self, text: str, weight: int, size: float, *, is_reversed: bool) -> str:
        """The operators that draw a line of text, beginning and ending on its baseline."""
        operators, letters = _drawn(text, weight, size, is_reversed=is_reversed)
        for face, further in letters:
            used = self._used.setdefault(face, {})
            for glyph, characters in further:
                used[glyph] = used.get(glyph) or characters
        return operators

    def finish(self, file: Pages) -> str:
        """Embed what was drawn; the fonts of the pages' resources."""
        fonts = {
            _name(face): _embedded(file, face, tuple(sorted((used | _always(face)).items())))
            for face, used in self._used.items()
        }
        return dictionary(**fonts).decode()


def _name(face: Face) -> str:
    return f"{face.name}-{'Bold' if face.weight == BOLD else 'Regular'}"


@functools.cache
def _always(face: Face) -> dict[int, str]:
    """What is embedded of a face that anything is drawn in."""
    known = (*ASCII, *LIGATURES) if face.name == FIRAGO else ()
    runs = (run for text in known for run in line(text, face.weight, is_reversed=False))
    return {0: ""} | {glyph: text for run in runs for glyph, text in run.letters.items()}


@functools.lru_cache(maxsize=1000)
def _drawn(
    text: str, weight: int, size: float, *, is_reversed: bool
) -> tuple[str, list[tuple[Face, Letters]]]:
    """The operators, and which letters they show besides those that are always there; most lines
    of a contract come again in the next.
    """
    said, letters = [], []
    for run in line(text, weight, is_reversed=is_reversed):
        known = _always(run.face)
        further = tuple(one for one in run.letters.items() if one[0] not in known)
        letters.append((run.face, further))
        said.append(f"/{_name(run.face)} {size:g} Tf")
        for up, operand in run.shown:
            rise = (f"{up * size / 1000:.2f} Ts ", " 0 Ts") if up else ("", "")
            said.append(f"{rise[0]}{operand} TJ{rise[1]}")
    return " ".join(said), letters


def _embedded(file: Pages, face: Face, used: Letters) -> str:
    """A composite font of TrueType outlines (ISO 32000-1, 9.7); its codes are glyph numbers."""
    made = _made(face, used)
    name = f"/{made.tag}+{_name(face)}"
    descriptor = dictionary(
        Type="/FontDescriptor",
        FontName=name,
        Flags="4",
        FontBBox=f"[-1000 {made.down} 3000 {made.up}]",
        ItalicAngle="0",
        Ascent=str(made.up),
        Descent=str(made.down),
        CapHeight=str(made.up),
        StemV=str(face.weight // 5),
        FontFile2=file.add(made.program),
    )
    descendant = dictionary(
        Type="/Font",
        Subtype="/CIDFontType2",
        BaseFont=name,
        CIDSystemInfo="<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >>",
        FontDescriptor=file.add(descriptor),
        DW="0",
        W=made.widths,
        CIDToGIDMap=file.add(made.places),
    )
    font = dictionary(
        Type="/Font",
        Subtype="/Type0",
        BaseFont=name,
        Encoding="/Identity-H",
        DescendantFonts=f"[{file.add(descendant)}]",
        ToUnicode=file.add(made.letters),
    )
    return file.add(font)


class _Made(NamedTuple):
    """What a font consists of, spelt."""

    tag: str
    """Tells subsets of one face apart."""
    up: int
    down: int
    widths: str
    program: bytes
    places: bytes
    letters: bytes


@functools.lru_cache(maxsize=64)
def _made(face: Face, used: Letters) -> _Made:
    program, places = _subset(face, {glyph for glyph, _ in used})
    known, extents = own(face), scaled(face).get_font_extents("ltr")
    last = used[-1][0]
    numbers = array("H", [places.get(glyph, 0) for glyph in range(last + 1)])
    if sys.byteorder == "little":
        numbers.byteswap()
    return _Made(
        tag="".join(chr(65 + byte % 26) for byte in hashlib.sha256(program).digest()[:6]),
        up=extents.ascender,
        down=extents.descender,
        widths=f"[{' '.join(f'{glyph} [{known[glyph][1]}]' for glyph, _ in used)}]",
        program=stream(program, Length1=str(len(program))),
        places=stream(numbers.tobytes()),
        letters=stream(_letters(used).encode()),
    )


def _letters(used: Letters) -> str:
    """The CMap from glyphs to the characters they stand for."""
    pairs = [
        f"<{glyph:04X}> <{text.encode('utf-16-be').hex().upper()}>" for glyph, text in used if text
    ]
    blocks = []
    for first in range(0, len(pairs), _LETTERS_AT_ONCE):
        block = pairs[first : first + _LETTERS_AT_ONCE]
        blocks += [f"{len(block)} beginbfchar", *block, "endbfchar"]
    return _CMAP.replace("{letters}", "\n".join(blocks))


def _subset(face: Face, glyphs: set[int]) -> tuple[bytes, dict[int, int]]:
    """A TrueType file of these glyphs at the face's weight; where each of them is in it."""
    whole = opened(*face)
    wanted = hb.SubsetInput()
    wanted.glyph_set.update(glyphs)
    wanted.drop_table_tag_set.update(_UNNEEDED)
    wanted.flags = (
        hb.SubsetFlags.NO_HINTING | hb.SubsetFlags.NO_LAYOUT_CLOSURE | hb.SubsetFlags.NOTDEF_OUTLINE
    )
    for axis in whole.axis_infos:
        is_weight = axis.tag == "wght"
        wanted.pin_axis_location(whole, axis.tag, face.weight if is_weight else axis.default_value)
    plan = hb.SubsetPlan(whole, wanted)
    return plan.execute().blob.data, dict(plan.old_to_new_glyph_mapping)
