"""Names and words in any script are shown whole, joined, in order, in faces that are embedded."""

import io
import random
from typing import Any

import bidi
import pypdf
import pytest
from services.contracts.tests.documents.test_contract import (
    TERMS,
    draft_of,
    fixed_deal,
    text_of,
)

from contracts.documents import certificate, paint
from contracts.documents.fonts import BOLD, REGULAR, visible
from contracts.documents.inputs import Certificate, Signed
from contracts.documents.page import RIGHT, Layout, Text, Words, paragraphs, wrapped
from contracts.documents.rendering import Renderer
from contracts.documents.shaping import line, width

ARABIC = "\u0645\u062d\u0645\u062f \u0627\u0644\u0641\u0627\u0631\u0633\u064a"
NAMES = {
    "latin": "Zo\u00eb \u0141ukasz",
    "cyrillic": "\u0418\u0432\u0430\u043d \u0419\u043e\u0446\u0438\u045b",
    "chinese": "\u5f20\u4f1f \u6f22\u5b57",
    "japanese": "\u7a7a\u306e\u8857 \u30ab\u30ca",
    "korean": "\ubc15\uc9c0\ubbfc",
    "arabic": ARABIC,
    "hebrew": "\u05e9\u05dc\u05d5\u05dd",
    "thai": "\u0e2a\u0e21\u0e0a\u0e32\u0e22",
    "armenian": "\u0540\u0561\u0575\u056f",
    "emoji": "\U0001f409\u2728 \u26bd",
}
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
THUMB = "\U0001f44d\U0001f3fd"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


def faces_of(document: bytes) -> list[dict[str, Any]]:
    pages: Any = pypdf.PdfReader(io.BytesIO(document)).pages
    fonts = {font.idnum: font for page in pages for font in page["/Resources"]["/Font"].values()}
    return [font.get_object() for font in fonts.values()]


def glyphs(text: str, *, is_reversed: bool = False) -> str:
    return " ".join(
        operand for run in line(text, REGULAR, is_reversed=is_reversed) for _, operand in run.shown
    )


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_shown_as_it_is_written(name: str) -> None:
    assert visible(name) == name
    deal = fixed_deal()
    document = Renderer().render(
        draft_of(deal.model_copy(update={"seller": deal.seller.model_copy(update={"name": name})})),
        TERMS,
    )
    assert text_of(document).count(name) >= 3
    for weight in (REGULAR, BOLD):
        for run in line(name, weight, is_reversed=False):
            assert 0 not in run.letters, "the sign of a missing glyph"


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_certificate_shows_it_too(name: str) -> None:
    user_id, when = fixed_deal().seller.user_id, fixed_deal().accepted_at
    signed = Signed(
        role="SELLER",
        name=name,
        user_id=user_id,
        method="API",
        signed_at=when,
        ip=None,
        user_agent=None,
        document_sha256="0" * 64,
        consent_version="1.0.0",
    )
    facts = Certificate(
        contract_id=user_id,
        document_sha256="0" * 64,
        template_version="1.0.0",
        consent="I agree.",
        signatures=[signed],
        events=[],
    )
    pages = certificate.blocks(facts, document_bytes=1)
    assert name in text_of(paint.paint(pages, footer="f", title="t", subject="s"))


def test_every_face_of_a_document_is_embedded_and_only_as_far_as_it_is_used() -> None:
    deal = fixed_deal().model_copy(update={"conditions": " ".join(NAMES.values())})
    document = Renderer().render(draft_of(deal), TERMS)
    found = faces_of(document)
    assert {font["/BaseFont"].partition("+")[2] for font in found} >= {
        "FiraGO-Regular",
        "FiraGO-Bold",
        "NotoSansJP-Regular",
        "NotoSansKR-Regular",
        "NotoEmoji-Regular",
        "NotoSansArmenian-Regular",
    }
    for font in found:
        program = font["/DescendantFonts"][0].get_object()["/FontDescriptor"]["/FontFile2"]
        assert 0 < len(program.get_data()) < 60_000
    assert len(document) < 500_000


def test_a_document_in_latin_letters_opens_no_other_face() -> None:
    document = Renderer().render(draft_of(fixed_deal()), TERMS)
    names = {font["/BaseFont"].partition("+")[2] for font in faces_of(document)}
    assert names == {"FiraGO-Regular", "FiraGO-Bold"}


def test_documents_in_plain_english_share_their_faces() -> None:
    deal = fixed_deal()
    first, second = (
        Renderer().render(draft_of(deal.model_copy(update={"conditions": said})), TERMS)
        for said in ("none", "0ff0 fbx offbeat `fjord` (#~) waffle")
    )
    names = [sorted(font["/BaseFont"] for font in faces_of(made)) for made in (first, second)]
    assert first != second
    assert names[0] == names[1]


def test_arabic_letters_are_joined_and_stand_from_right_to_left() -> None:
    apart = {operand for letter in "\u0645\u062d\u062f" for operand in glyphs(letter).split()}
    [run] = line("\u0645\u062d\u0645\u062f", REGULAR, is_reversed=True)
    assert list(run.letters.values()) == ["\u062f", "\u0645", "\u062d", "\u0645"]
    isolated = {operand.strip("[<>]") for operand in apart}
    assert not {f"{glyph:04X}" for glyph in list(run.letters)[1:]} & isolated


def test_the_order_of_mixed_lines_is_that_of_the_unicode_algorithm() -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    for _ in range(500):
        said = "".join(chance.choices("ab \u05d0\u05d1\u0633\u064512()[].,-%$", k=12)).strip()
        for is_reversed in (False, True):
            runs = line(said, REGULAR, is_reversed=is_reversed)
            shown = "".join(
                text for run in runs for text in from_left_to_right(run.shown, run.letters)
            )
            assert shown == bidi.get_display(said, base_dir="LR"[is_reversed]), said


def from_left_to_right(shown: tuple[tuple[int, str], ...], letters: dict[int, str]) -> list[str]:
    """The characters of a run from left to right."""
    numbers = "".join(part.partition(">")[0] for _, text in shown for part in text.split("<")[1:])
    return [letters[int(numbers[at : at + 4], 16)] for at in range(0, len(numbers), 4)]


def test_a_name_that_reads_from_the_right_moves_no_words_of_the_document() -> None:
    [said] = paragraphs(["\u05d0\u05d1 12 (\u05d2", " (the Seller) pays 5", "\u05d0", " 6 (now)."])
    runs = line(said, REGULAR, is_reversed=False)
    shown = "".join("".join(from_left_to_right(run.shown, run.letters)) for run in runs)
    assert shown == "\u05d2( 12 \u05d1\u05d0 (the Seller) pays 5\u05d0 6 (now)."


def test_a_paragraph_that_reads_from_the_right_stands_there() -> None:
    layout = Layout()
    layout.add(Text(ARABIC))
    layout.add(Text("plain"))
    right, left = (mark for mark in layout.pages[0] if isinstance(mark, Words))
    assert (right.is_reversed, left.is_reversed) == (True, False)
    assert right.x + width(right.text, REGULAR, right.size) == pytest.approx(RIGHT)


@pytest.mark.parametrize(
    "picture",
    [
        FAMILY,
        THUMB,
        ENGLAND,
        "\u2764\ufe0f",
        "1\ufe0f\u20e3",
        "\U0001f1e9\U0001f1ea",
        "\u00a9\ufe0f",
    ],
)
def test_a_sequence_of_emoji_is_one_picture(picture: str) -> None:
    assert visible(picture) == picture
    [run] = line(picture, REGULAR, is_reversed=False)
    assert (run.face.name, list(run.letters.values())) == ("NotoEmoji", [picture])


def test_joiners_are_kept_where_they_spell_and_shown_where_they_hide() -> None:
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert visible(persian) == persian
    assert glyphs(persian, is_reversed=True) != glyphs(
        persian.replace("\u200c", ""), is_reversed=True
    )
    assert visible("pay\u200cpal") == "pay[U+200C]pal"
    assert visible("\U0001f600\u200dx") == "\U0001f600[U+200D]x"
    hidden = "\U000e0061\U000e0062\U000e007f"
    assert visible(f"\U0001f3f4{hidden}") == "\U0001f3f4[U+E0061][U+E0062][U+E007F]"
    assert visible("\u2764\ufe0f\ufe0f") == "\u2764[U+FE0F][U+FE0F]"


def test_east_asian_lines_are_filled_and_begin_with_no_closing_mark() -> None:
    said = "price: " + "\u4ea4\u4ed8\u6e38\u620f\u3002" * 12
    lines = list(wrapped(said, REGULAR, 10, 100))
    assert "".join(lines).replace(" ", "") == said.replace(" ", "")
    assert lines[0].startswith("price: \u4ea4")
    assert not any(one.startswith("\u3002") for one in lines)
    assert all(width(one, REGULAR, 10) <= 100 for one in lines)


def test_no_word_is_broken_inside_a_character() -> None:
    assert set("".join(wrapped(FAMILY * 20, REGULAR, 10, 60)).split(FAMILY)) == {""}
    assert all(len(one) % len(FAMILY) == 0 for one in wrapped(FAMILY * 20, REGULAR, 10, 60))


def test_han_characters_take_the_forms_of_the_language_around_them() -> None:
    faces = [
        {run.face.name for run in line(said, REGULAR, is_reversed=False)}
        for said in ("\u76f4\u9aa8", "\u76f4\u3059", "\u76f4\uac00", "\u6f22\u76f4")
    ]
    assert faces == [{"NotoSansSC"}, {"NotoSansJP"}, {"NotoSansKR"}, {"NotoSansSC"}]
