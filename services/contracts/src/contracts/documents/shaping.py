"""Lines of text become glyphs: which face, in which order, joined and placed how."""

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import uharfbuzz as hb
from bidi import algorithm
from bidi.mirror import MIRRORED

from contracts.documents.fonts import FIRAGO, Face, clusters, east_asian, face_of, scaled

LEFT_TO_RIGHT = "\u200e"
"""Put between words of the document and words of a user, so that neither reorders the other."""
_BRACKETS = 63
"""Deeper ones are not paired (definition BD16)."""
_RIGHT_TO_LEFT = {"R", "AL"}


@dataclass(frozen=True)
class Run:
    """Glyphs of one face, in thousandths of the size of the text."""

    face: Face
    width: int
    shown: tuple[tuple[int, str], ...]
    """How far above the line, and the operand of `TJ` that shows glyphs there."""
    letters: dict[int, str]
    """The characters that each glyph stands for."""


def is_right_to_left(text: str) -> bool:
    """Whether a paragraph reads from the right: its first letter decides."""
    if text.isascii():
        return False
    directions = map(unicodedata.bidirectional, text)
    strong = (found for found in directions if found == "L" or found in _RIGHT_TO_LEFT)
    return next(strong, "L") != "L"


@functools.lru_cache(maxsize=20_000)
def width(text: str, weight: int, size: float) -> float:
    """In points; the words of clauses come again in every contract."""
    return sum(run.width for run in line(text, weight, is_reversed=False)) * size / 1000


@functools.lru_cache(maxsize=200)
def line(text: str, weight: int, *, is_reversed: bool) -> tuple[Run, ...]:
    """What stands on a line, from left to right; short texts are asked for their width as well."""
    return tuple(_shape(part, weight) for part in _ordered(_parts(text, is_reversed=is_reversed)))


class _Part(NamedTuple):
    """Characters of one face, direction and script."""

    text: str
    face: str
    level: int


def _parts(text: str, *, is_reversed: bool) -> list[_Part]:
    if not is_reversed and (plain := text.replace(LEFT_TO_RIGHT, "")).isascii():
        return [_Part(plain, FIRAGO, 0)] if plain else []
    script, text_is = "", east_asian(text)
    pieces = clusters(text)
    levels = _levels(pieces, is_reversed=is_reversed)
    found = []
    for cluster, level in zip(pieces, levels, strict=True):
        if cluster == LEFT_TO_RIGHT:
            continue
        whole = face_of(cluster, text_is)
        if cluster[0].isalpha():
            script = "" if cluster.isascii() else unicodedata.name(cluster[0], "").split()[0]
        for piece in (cluster,) if whole else cluster:
            face = whole or face_of(piece, text_is)
            assert face is not None, "text must be made visible before it is shaped"
            found.append((piece, (face, level, script)))
    return [
        _Part("".join(piece for piece, _ in group), key[0], key[1])
        for key, group in groupby(found, lambda item: item[1])
    ]


def _levels(pieces: Sequence[str], *, is_reversed: bool) -> list[int]:
    """How deep each cluster is embedded (Unicode Standard Annex 9); odd is right to left."""
    types = [unicodedata.bidirectional(piece[0]) for piece in pieces]
    if not is_reversed and _RIGHT_TO_LEFT.isdisjoint(types) and "AN" not in types:
        return [0] * len(pieces)
    base = int(is_reversed)
    storage = algorithm.get_empty_storage()
    storage |= {"base_level": base, "base_dir": "LR"[base]}
    algorithm.get_embedding_levels("".join(piece[0] for piece in pieces), storage)
    algorithm.explicit_embed_and_overrides(storage)
    algorithm.resolve_weak_types(storage)
    _pair_brackets(storage["chars"], "LR"[base])
    algorithm.resolve_neutral_types(storage, debug=False)
    algorithm.resolve_implicit_levels(storage, debug=False)
    return [character["level"] for character in storage["chars"]]


def _pair_brackets(characters: list[dict[str, Any]], base: str) -> None:
    """Brackets go with what they enclose (rule N0, which the algorithm above leaves out)."""
    strong = {"L": "L", "R": "R", "EN": "R", "AN": "R"}
    opened: list[tuple[str, int]] = []
    pairs = []
    for place, character in enumerate(characters):
        sign = character["ch"]
        if character["type"] != "ON" or not unicodedata.mirrored(sign):
            continue
        if unicodedata.category(sign) == "Ps":
            if len(opened) == _BRACKETS:
                break
            opened.append((MIRRORED.get(sign, ""), place))
        closes = [at for at, (closing, _) in enumerate(opened) if closing == sign]
        if closes:
            pairs.append((opened[closes[-1]][1], place))
            del opened[closes[-1] :]
    for start, end in sorted(pairs):
        inside = {strong.get(one["type"]) for one in characters[start + 1 : end]} - {None}
        if not inside:
            continue
        before = (strong.get(characters[at]["type"]) for at in range(start - 1, -1, -1))
        other = base not in inside and next(filter(None, before), base) != base
        direction = "LR"[base == "L"] if other else base
        characters[start]["type"] = characters[end]["type"] = direction


def _ordered(parts: list[_Part]) -> list[_Part]:
    """From left to right (rule L2): from the deepest level up, what is that deep is reversed."""
    for level in range(max((part.level for part in parts), default=0), 0, -1):
        parts = [
            part
            for is_deep, group in groupby(parts, lambda part: part.level >= level)  # noqa: B023
            for part in (reversed(list(group)) if is_deep else group)
        ]
    return parts


def _shape(part: _Part, weight: int) -> Run:
    face = Face(part.face, weight)
    font = scaled(face)
    buffer = hb.Buffer()
    buffer.cluster_level = hb.BufferClusterLevel.MONOTONE_CHARACTERS
    buffer.flags = hb.BufferFlags.REMOVE_DEFAULT_IGNORABLES
    buffer.add_str(part.text)
    buffer.guess_segment_properties()
    buffer.direction = "rtl" if part.level % 2 else "ltr"
    buffer.language = "en"
    hb.shape(font, buffer)
    infos, places = buffer.glyph_infos, buffer.glyph_positions
    starts = [*sorted({info.cluster for info in infos}), len(part.text)]
    texts = {start: part.text[start:end] for start, end in pairwise(starts)}
    letters: dict[int, str] = {}
    for info in infos:
        text = texts.pop(info.cluster, "")
        letters[info.codepoint] = letters.get(info.codepoint) or text
    placed = zip((info.codepoint for info in infos), places, strict=True)
    shown = tuple(
        (up, _operand(face, glyphs))
        for up, glyphs in groupby(placed, lambda glyph: glyph[1].y_offset)
    )
    return Run(face, sum(place.x_advance for place in places), shown, letters)


def _operand(face: Face, glyphs: Iterable[tuple[int, hb.GlyphPosition]]) -> str:
    """`[<0001>12<0002>]`: numbers in between move to the left."""
    said, left, known = [], 0, own(face)
    for glyph, place in glyphs:
        code, advance = known[glyph]
        right = place.x_offset
        if left != right:
            said.append(f">{left - right}<")
        said.append(code)
        left = right + advance - place.x_advance
    return f"[<{''.join(said)}>{left or ''}]".replace("<>", "")


class _Own(dict[int, tuple[str, int]]):
    def __init__(self, face: Face) -> None:
        super().__init__()
        self._font = scaled(face)

    def __missing__(self, glyph: int) -> tuple[str, int]:
        self[glyph] = (f"{glyph:04X}", self._font.get_glyph_h_advance(glyph))
        return self[glyph]


@functools.cache
def own(face: Face) -> Mapping[int, tuple[str, int]]:
    """Of each glyph: its number as it is shown by, and what it advances by if nothing is said."""
    return _Own(face)
