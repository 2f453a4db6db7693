"""The faces and pictures of one document: text is drawn by the numbers of its glyphs, and at the
end just the glyphs that were drawn are embedded, at the weight they were drawn in, with the letters
they stand for, so that text can be found and copied.
"""

import hashlib
import sys
from array import array

import uharfbuzz as hb
from reportlab.pdfbase import pdfdoc
from reportlab.pdfgen.canvas import Canvas

from contracts.documents.fonts import BOLD, Face, opened, scaled
from contracts.documents.pictures import PIXELS
from contracts.documents.shaping import Run, own_width

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


class Embedding:
    """Which glyphs a document has drawn."""

    def __init__(self) -> None:
        self._used: dict[Face, tuple[int, dict[int, str]]] = {}

    def draw(self, run: Run, size: float) -> str:
        """The operators that draw a run, beginning and ending on its baseline."""
        number, used = self._used.setdefault(run.face, (len(self._used) + 1, {0: ""}))
        for glyph, text in run.letters.items():
            used[glyph] = used.get(glyph) or text
        said = [f"/F{number} {size:g} Tf"]
        for up, operand in run.shown:
            rise = (f"{up * size / 1000:.2f} Ts ", " 0 Ts") if up else ("", "")
            said.append(f"{rise[0]}{operand} TJ{rise[1]}")
        return " ".join(said)

    def finish(self, canvas: Canvas) -> None:
        """Embed what was drawn."""
        document = canvas._doc  # noqa: SLF001 - canvas has no word for fonts of one's own
        fonts = document.idToObject["BasicFonts"].dict
        fonts.clear()  # reportlab's own, which nothing is drawn in
        for face, (number, used) in self._used.items():
            fonts[f"F{number}"] = _embedded(document, face, used, number)


def embed_picture(canvas: Canvas, jpeg: bytes) -> str:
    """The name of a picture of `PIXELS` a side, taken over byte for byte."""
    document = canvas._doc  # noqa: SLF001 - canvas would encode it anew
    stream = pdfdoc.PDFStream(content=jpeg, filters=[])
    stream.dictionary.dict |= {
        "Type": "/XObject",
        "Subtype": "/Image",
        "Width": PIXELS,
        "Height": PIXELS,
        "ColorSpace": "/DeviceRGB",
        "BitsPerComponent": 8,
        "Filter": "/DCTDecode",
    }
    name = hashlib.sha256(jpeg).hexdigest()
    document.Reference(stream, document.getXObjectName(name))
    return name


def _embedded(
    document: pdfdoc.PDFDocument, face: Face, used: dict[int, str], number: int
) -> object:
    """A composite font of TrueType outlines (ISO 32000-1, 9.7); its codes are glyph numbers."""
    program, places = _subset(face, set(used))
    tag = "".join(chr(65 + number // 26**place % 26) for place in range(6))
    name = f"/{tag}+{face.name}-{'Bold' if face.weight == BOLD else 'Regular'}"
    font = scaled(face)
    extents = font.get_font_extents("ltr")
    up, down = (
        round(extent * 1000 / font.face.upem) for extent in (extents.ascender, extents.descender)
    )
    ordered = sorted(used)
    numbers = array("H", [places.get(glyph, 0) for glyph in range(ordered[-1] + 1)])
    if sys.byteorder == "little":
        numbers.byteswap()

    def made(**entries: object) -> object:
        return document.Reference(pdfdoc.PDFDictionary(entries))

    def stream(content: bytes, **entries: object) -> object:
        data = pdfdoc.PDFStream(content=content, filters=[])
        data.dictionary.dict |= entries
        return document.Reference(data)

    descriptor = made(
        Type="/FontDescriptor",
        FontName=name,
        Flags=4,
        FontBBox=pdfdoc.PDFArray([-1000, down, 3000, up]),
        ItalicAngle=0,
        Ascent=up,
        Descent=down,
        CapHeight=up,
        StemV=face.weight // 5,
        FontFile2=stream(program, Length1=len(program)),
    )
    descendant = made(
        Type="/Font",
        Subtype="/CIDFontType2",
        BaseFont=name,
        CIDSystemInfo="<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >>",
        FontDescriptor=descriptor,
        DW=0,
        W=f"[{' '.join(f'{glyph} [{own_width(face, glyph)}]' for glyph in ordered)}]",
        CIDToGIDMap=stream(numbers.tobytes()),
    )
    return made(
        Type="/Font",
        Subtype="/Type0",
        BaseFont=name,
        Encoding="/Identity-H",
        DescendantFonts=pdfdoc.PDFArray([descendant]),
        ToUnicode=stream(_letters(used).encode()),
    )


def _letters(used: dict[int, str]) -> str:
    """The CMap from glyphs to the characters they stand for."""
    pairs = [
        f"<{glyph:04X}> <{text.encode('utf-16-be').hex().upper()}>"
        for glyph, text in sorted(used.items())
        if text
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
