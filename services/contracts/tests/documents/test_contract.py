"""What a contract's document says, byte for byte and letter for letter."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

import pypdf
import pytest
from pydantic import ValidationError
from services.contracts.tests.conftest import SealFiles, make_deal

from contracts.documents.contract import span
from contracts.documents.fonts import visible
from contracts.documents.inputs import Draft
from contracts.documents.pdf import NewFile
from contracts.documents.press import Press
from contracts.documents.printing import Printer
from contracts.documents.template import Clause, read
from shared.events.cards import Deal

TERMS: dict[str, Any] = json.loads((files("contracts") / "templates" / "1.0.0.json").read_text())
WHEN = datetime(2026, 11, 23, 18, 0, 5, tzinfo=UTC)


def draft_of(deal: Deal) -> dict[str, Any]:
    return Draft(
        contract_id=UUID(int=9),
        root_offer_id=deal.offer_id,
        deal=deal,
        sign_by=deal.accepted_at + timedelta(hours=72),
        template_version="1.0.0",
    ).model_dump(mode="json")


@pytest.fixture(scope="module")
def printer(seal_files: SealFiles) -> Printer:
    return Printer(str(seal_files.store), seal_files.password, str(seal_files.root))


def text_of(document: bytes) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(document)).pages)


def fixed_deal() -> Deal:
    deal = make_deal(accepted_at=WHEN, listing_id=UUID(int=3), offer_id=UUID(int=4))
    return deal.model_copy(
        update={
            "seller": deal.seller.model_copy(update={"user_id": UUID(int=1)}),
            "buyer": deal.buyer.model_copy(update={"user_id": UUID(int=2)}),
            "game": deal.game.model_copy(update={"taken_at": WHEN}),
        }
    )


async def test_the_same_input_makes_the_same_bytes_here_and_in_another_process(
    printer: Printer, press: Press
) -> None:
    draft = draft_of(fixed_deal())
    here = printer.render(draft, TERMS)
    printer.render(draft_of(make_deal()), TERMS)  # another document in between leaves no trace
    again = printer.render(draft, TERMS)
    elsewhere = await press.render(draft, TERMS)
    assert {hashlib.sha256(made).hexdigest() for made in (here, again, elsewhere)} == {
        hashlib.sha256(here).hexdigest()
    }


def test_the_same_bytes_come_from_a_process_that_hashes_and_lives_elsewhere(
    printer: Printer,
) -> None:
    deal = fixed_deal()
    name = "\u0645\u062d\u0645\u062f \u5f20\u4f1f \ubc15 \u3042 \U0001f409\u2728"
    draft = draft_of(
        deal.model_copy(update={"seller": deal.seller.model_copy(update={"name": name})})
    )
    program = """
import hashlib, json, sys
from contracts.documents.rendering import Renderer
print(hashlib.sha256(Renderer().render(*json.load(sys.stdin))).hexdigest())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([draft, TERMS]),
        env={**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == hashlib.sha256(printer.render(draft, TERMS)).hexdigest()


def test_nothing_in_it_depends_on_the_build_of_zlib(printer: Printer) -> None:
    assert b"FlateDecode" not in printer.render(draft_of(fixed_deal()), TERMS)


def test_a_text_of_the_file_ends_where_it_is_meant_to() -> None:
    file = NewFile()
    made = file.finished([], {"Title": "a) /JS (b\\"})
    about = pypdf.PdfReader(io.BytesIO(made)).metadata
    assert about is not None
    assert {name: str(said) for name, said in about.items()} == {"/Title": "a) /JS (b\\"}


def test_it_names_the_parties_the_deal_and_itself(printer: Printer) -> None:
    text = text_of(printer.render(draft_of(fixed_deal()), TERMS))
    for said in (
        "Roblox Game Sale Agreement",
        "sasha_builds (id 2001)",
        "blair_plays (id 2002)",
        "sasha (id 100000000000000001)",
        "Skyline Tycoon",
        "1,234,567",
        "$4,500.00",
        "$112.50 (2.50 %)",
        "$4,387.50",
        "card (Stripe)",
        "26 November 2026, 18:00:05 UTC",
        "14 days after the payment",
        "All places included.",
        "12.",
        "Entire agreement",
        "00000000-0000-0000-0000-000000000009",
        "template 1.0.0",
        "Page 3 of 3",
    ):
        assert said in text, said


@pytest.mark.parametrize(
    "hostile",
    [
        "<b>bold</b> <para>x</para>",
        '<img src="file:///etc/passwd"/>',
        "{seller_name} {price} {unknown}",
        "%s %(a)s ${HOME} \\n (unbalanced",
        "a) Tj ET Q 0 0 m /URI (http://x)",
        "</Title> endstream endobj trailer",
        "Fish & Chips &amp; &#x41; <br/> <![CDATA[x]]>",
        "<a href='file:///etc/passwd'>x</a><script>app.alert(1)</script>",
        "/JS (app.alert) /Launch /OpenAction << /S /URI >>",
    ],
)
def test_hostile_words_stay_words(printer: Printer, hostile: str) -> None:
    deal = fixed_deal()
    seller = deal.seller.model_copy(update={"name": hostile})
    document = printer.render(
        draft_of(deal.model_copy(update={"conditions": hostile, "seller": seller})), TERMS
    )
    text = re.sub(r"\s+", "", text_of(document))
    assert text.count(re.sub(r"\s+", "", hostile)) >= 4
    for active in (b"/JS", b"/URI", b"/Launch", b"/JavaScript", b"/OpenAction", b"/AA"):
        assert re.search(active + rb"\b", _outside_of_strings(document)) is None, active


def _outside_of_strings(document: bytes) -> bytes:
    """The file without its streams and its literal strings."""
    bare = re.sub(rb"stream\r?\n.*?endstream", b"", document, flags=re.DOTALL)
    return re.sub(rb"\((?:[^()\\]|\\.)*\)", b"()", bare, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("pay \u202e00.0054$\u202c", "pay [U+202E]00.0054$[U+202C]"),
        ("to\u200b me\x07\u00ad", "to[U+200B] me[U+0007][U+00AD]"),
        ("\u2066a\u2069 \u200fb\u061c", "[U+2066]a[U+2069] [U+200F]b[U+061C]"),
        (
            "a\u200db \u3164 \ue000 \U000e0041 \ufdd0",
            "a[U+200D]b [U+3164] [U+E000] [U+E0041] [U+FDD0]",
        ),
        ("\U00010280", "[U+10280]"),
        ("a\u0301\u0301\u0301\u0301", "a\u0301\u0301[U+0301][U+0301]"),
    ],
)
def test_what_a_reader_could_not_see_is_shown_by_its_number(said: str, shown: str) -> None:
    assert visible(said) == shown
    assert visible(shown) == shown


def test_numbers_stand_in_the_document_as_well(printer: Printer) -> None:
    deal = fixed_deal()
    said = "pay \u202e00.0054$\u202c to\u200b me\x07 \u6f22 \U0001f600 \u0411\u043b\u044d\u0440"
    text = text_of(printer.render(draft_of(deal.model_copy(update={"conditions": said})), TERMS))
    assert (
        "pay [U+202E]00.0054$[U+202C] to[U+200B] me[U+0007] \u6f22 \U0001f600"
        " \u0411\u043b\u044d\u0440"
    ) in text


def test_a_hostile_document_opens_no_file_and_no_connection() -> None:
    """In a process that dies of either, once the faces' files are found."""
    deal = fixed_deal()
    hostile = '<img src="file:///etc/passwd"/> <para> <a href="http://x"> \u6f22\U0001f600\u0645'
    draft = draft_of(
        deal.model_copy(
            update={
                "conditions": hostile,
                "seller": deal.seller.model_copy(update={"name": hostile}),
                "game": deal.game.model_copy(update={"thumbnail_url": "file:///etc/passwd"}),
            }
        )
    )
    program = """
import json, sys
from contracts.documents.rendering import Renderer
def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "urllib.")):
        raise SystemExit(f"{event} {arguments}")
    if event == "open" and "site-packages" not in str(arguments[0]):
        raise SystemExit(f"{event} {arguments}")
draft, terms = json.load(sys.stdin)
renderer = Renderer()
renderer.render({**draft, "deal": {**draft["deal"], "conditions": None}}, terms)
sys.addaudithook(watch)
sys.stdout.write(str(len(renderer.render(draft, terms))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([draft, TERMS]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 50_000


def test_a_text_longer_than_a_page_is_kept_whole(printer: Printer) -> None:
    deal = fixed_deal()
    long = "word " * 10_000 + "x" * 50_000
    text = text_of(printer.render(draft_of(deal.model_copy(update={"conditions": long})), TERMS))
    assert text.count("word") == 10_000
    assert text.count("x") >= 50_000


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(259_200, "3 days"), (90_000, "1 day 1 hour"), (1800, "30 minutes"), (0, "0 seconds")],
)
def test_spans_are_said_exactly(seconds: int, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize("text", ["{nobody} pays", "an { open brace", "a } closing one"])
def test_a_clause_with_an_unknown_placeholder_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Clause(heading="x", text=text)


def test_the_terms_shipped_are_well_formed() -> None:
    terms = read(TERMS)
    assert (terms.version, len(terms.clauses)) == ("1.0.0", 12)
