"""The embedded faces, all under the SIL Open Font License 1.1: FiraGO for most letters, Noto for
East Asia, emoji, symbols and further scripts. A face is opened when a character first needs it;
a character that none has is shown by its number, never left out.
"""

import functools
import unicodedata
from importlib.resources import files
from typing import NamedTuple

import pymupdf_fonts
import regex
import uharfbuzz as hb

REGULAR, BOLD = 400, 700
ASCII = "".join(map(chr, range(0x20, 0x7F)))
LIGATURES = ("ff", "fi", "fj", "fl", "ffi", "ffj", "ffl", "fb", "ffb")
"""FiraGO has glyphs of their own for all of both, the last ones for an f before an ascender."""

_NOTO = files("manimgx_fonts")
_EAST_ASIA = files("justmytype_intl_cjk") / "fonts" / "ofl"
FIRAGO = "FiraGO"
_EMOJI = "NotoEmoji"
_KOREAN = "NotoSansKR"
_JAPANESE = "NotoSansJP"
_FALLBACKS = {
    **{
        name: _EAST_ASIA / name.lower() / f"{name}[wght].ttf"
        for name in ("NotoSansSC", "NotoSansTC", _JAPANESE, _KOREAN)
    },
    **{
        name: _NOTO / f"{name}[wght].ttf"
        for name in (
            *("NotoSans", _EMOJI, "NotoSansSymbols", "NotoSansArabic", "NotoSansHebrew"),
            *("NotoSansArmenian", "NotoSansGeorgian", "NotoSansEthiopic", "NotoSansThai"),
            *("NotoSansLao", "NotoSansKhmer", "NotoSansMyanmar", "NotoSansSinhala"),
            *("NotoSansDevanagari", "NotoSansBengali", "NotoSansGujarati", "NotoSansGurmukhi"),
            *("NotoSansKannada", "NotoSansMalayalam", "NotoSansOriya", "NotoSansTamil"),
            "NotoSansTelugu",
        )
    },
}
_SPACES = {"\t": "    ", "\u00a0": " ", "\u202f": " "}
_SPACES |= dict.fromkeys(("\r\n", "\r", "\u2028", "\u2029"), "\n")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Controls, direction overrides, zero-width marks and unassigned: what a reader could not see."""
_CLUSTER = regex.compile(r"\X")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HANGUL = regex.compile(r"\p{Hangul}")
_IGNORED = regex.compile(r"\p{Default_Ignorable_Code_Point}")
_JOINED = regex.compile(r"[\p{Arabic}\p{Syriac}\p{InSC=Virama}\p{InSC=Invisible_Stacker}]\p{M}*")
"""After these a zero-width (non-)joiner is spelling."""
_PICTURE = regex.compile(r"\p{Emoji_Presentation}|\p{Emoji}.*[\ufe0f\u200d\u20e3]", regex.DOTALL)
_TAG = "\U000e007f"
_ONE = rf"\p{{Emoji}}(?:\p{{Emoji_Modifier}}|\ufe0f\u20e3?|[\U000e0020-\U000e007e]+{_TAG})?"
_SEQUENCE = regex.compile(rf"\p{{Regional_Indicator}}{{2}}|{_ONE}(?:\u200d{_ONE})*")
"""The sequences of Unicode Technical Standard 51."""
_STACKED = 200
"""From this combining class on marks stand on top of each other."""
_STOREYS = 2
"""Marks higher than this only serve to paint over other lines."""


class Face(NamedTuple):
    name: str
    weight: int


@functools.cache
def opened(name: str, weight: int) -> hb.Face:
    """The file of a face, read as it is needed; one file of Noto holds all weights."""
    if name == FIRAGO:
        return hb.Face(hb.Blob(pymupdf_fonts.fontbuffers["figbo" if weight == BOLD else "figo"]()))
    return hb.Face(hb.Blob.from_file_path(str(_FALLBACKS[name])))


@functools.cache
def scaled(face: Face) -> hb.Font:
    """The face at its weight, in thousandths of the size of the text."""
    font = hb.Font(opened(*face))
    font.scale = (1000, 1000)
    font.set_variations({"wght": face.weight})
    return font


@functools.cache
def _characters(name: str) -> frozenset[int]:
    return frozenset(opened(name, REGULAR).unicodes)


def clusters(text: str) -> list[str]:
    """What people take for one character each: a letter with its marks, an emoji sequence."""
    return list(text) if text.isascii() else _CLUSTER.findall(text)


@functools.lru_cache(maxsize=20_000)
def face_of(cluster: str, text_is: str | None) -> str | None:
    """The face that has all of a cluster; `text_is`: the face for Han characters around it."""
    needed = {ord(character) for character in cluster if not _IGNORED.match(character)}
    first = [_EMOJI] if _PICTURE.match(cluster) else []
    names = [*first, FIRAGO, *([text_is] if text_is else []), *_FALLBACKS]
    return next((name for name in names if needed <= _characters(name)), None)


def east_asian(text: str) -> str | None:
    """Whose forms of Han characters a text is written in, if it shows."""
    if _KANA.search(text):
        return _JAPANESE
    return _KOREAN if _HANGUL.search(text) else None


def visible(text: str) -> str:
    """The text as it can be shown; what no face has, and all that is invisible by nature
    (controls, direction overrides), becomes `[U+202E]`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, clusters(text)))


@functools.lru_cache(maxsize=20_000)
def _shown(cluster: str) -> str:
    if cluster in _SPACES:
        return _SPACES[cluster]
    if cluster in "\n ":
        return cluster
    if len(cluster) > 1 and _is_picture(cluster):
        return cluster
    shown, storeys = "", 0
    for place, character in enumerate(cluster):
        storeys += unicodedata.combining(character) >= _STACKED
        is_hidden = _IGNORED.match(character) or unicodedata.category(character) in _INVISIBLE
        if _spells(cluster, place) or not (
            is_hidden or storeys > _STOREYS or face_of(character, None) is None
        ):
            shown += character
        else:
            shown += f"[U+{ord(character):04X}]"
    return shown


def _spells(cluster: str, place: int) -> bool:
    """Whether a joiner there is needed to spell, as in Persian."""
    joins = cluster[place] in "\u200c\u200d" and place == len(cluster) - 1
    return joins and _JOINED.fullmatch(cluster[:place]) is not None


def _is_picture(cluster: str) -> bool:
    """Whether the emoji face has one picture for all of it, so that nothing in it hides."""
    if not _SEQUENCE.fullmatch(cluster) or face_of(cluster, None) != _EMOJI:
        return False
    shown = _pictures(cluster)
    return len(shown) == 1 and not (_TAG in cluster and shown == _pictures(cluster[0]))


def _pictures(text: str) -> list[int]:
    buffer = hb.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    buffer.flags = hb.BufferFlags.REMOVE_DEFAULT_IGNORABLES
    hb.shape(scaled(Face(_EMOJI, REGULAR)), buffer)
    return [info.codepoint for info in buffer.glyph_infos]
