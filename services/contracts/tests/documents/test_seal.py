"""Our seal is found whole or not at all."""

import asyncio
import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pypdf
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pyhanko.sign.signers import SimpleSigner
from services.contracts.tests.conftest import SealFiles, make_deal, make_seal
from services.contracts.tests.documents.test_contract import TERMS, draft_of

from contracts.documents.inputs import Certificate, Happened, Signed
from contracts.documents.page import Note
from contracts.documents.printing import Printer
from contracts.documents.seal import SealBroken
from contracts.documents.sealing import Sealer, Signer

HASH = "0" * 64


def certificate_of(document: bytes) -> dict[str, object]:
    digest = hashlib.sha256(document).hexdigest()
    when = datetime(2026, 11, 23, 18, 0, 5, tzinfo=UTC)
    return Certificate(
        contract_id=UUID(int=9),
        document_sha256=digest,
        template_version="1.0.0",
        consent="I agree.",
        signatures=[
            Signed(
                role="Seller",
                name="Sasha",
                user_id=UUID(int=1),
                method="API",
                signed_at=when,
                ip="203.0.113.77",
                user_agent="Mozilla/5.0",
                document_sha256=digest,
                consent_version="1.0.0",
            )
        ],
        events=[Happened(at=when, what="contract.viewed", user_id=UUID(int=1), ip="2001:db8::1")],
    ).model_dump(mode="json")


@pytest.fixture(scope="module")
def printer(seal_files: SealFiles) -> Printer:
    return Printer(str(seal_files.store), seal_files.password, str(seal_files.root))


@pytest.fixture(scope="module")
def document(printer: Printer) -> bytes:
    return printer.render(draft_of(make_deal()), TERMS)


@pytest.fixture(scope="module")
def sealed(printer: Printer, document: bytes) -> bytes:
    return printer.seal(document, certificate_of(document))


def test_a_sealed_file_begins_with_the_signed_document_and_tells_who_signed(
    printer: Printer, document: bytes, sealed: bytes
) -> None:
    assert sealed.startswith(document)
    audit = printer.check(sealed)
    expected = certificate_of(document)
    assert audit["document_sha256"] == expected["document_sha256"]
    assert audit["document_bytes"] == len(document)
    assert audit["signatures"][0]["network"] == "203.0.113.0/24"
    assert audit["events"][0]["network"] == "2001:db8::/48"
    assert "203.0.113.77" not in str(audit)
    reader = pypdf.PdfReader(io.BytesIO(sealed))
    page = reader.pages[-1].extract_text()
    for said in ("Certificate of Signatures", "203.0.113.0/24", "Mozilla/5.0", "Seller: Sasha"):
        assert said in page, said
    assert list(reader.attachments) == ["audit.json"]


def resaved(sealed: bytes) -> bytes:
    out = io.BytesIO()
    pypdf.PdfWriter(clone_from=io.BytesIO(sealed)).write(out)
    return out.getvalue()


def with_a_page(sealed: bytes) -> bytes:
    out = io.BytesIO()
    writer = pypdf.PdfWriter(io.BytesIO(sealed), incremental=True)
    writer.add_blank_page(100, 100)
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        resaved,
        with_a_page,
        lambda sealed: sealed + b"\n%comment\n",
        lambda sealed: sealed[:-20],
        lambda _: b"",
        lambda _: b"%PDF-1.7 nothing",
    ],
    ids=["resaved", "page", "appended", "cut", "empty", "junk"],
)
def test_every_later_change_is_found(
    printer: Printer, sealed: bytes, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(SealBroken):
        printer.check(change(sealed))


def test_a_flipped_bit_is_found_wherever_it_is(printer: Printer, sealed: bytes) -> None:
    seal = sealed.rindex(b"/Contents <") + 11
    everywhere = range(0, len(sealed), len(sealed) // 40)
    within_the_seal = range(seal, sealed.index(b">", seal), 37)
    for number, position in enumerate((*everywhere, *within_the_seal)):
        flipped = bytearray(sealed)
        flipped[position] ^= 1 << number % 8
        with pytest.raises(SealBroken):
            printer.check(bytes(flipped))


def test_a_document_that_was_never_sealed_is_not_ours(printer: Printer, document: bytes) -> None:
    with pytest.raises(SealBroken, match="does not carry exactly our seal"):
        printer.check(document)


def test_the_seal_of_somebody_else_is_not_ours(
    printer: Printer, document: bytes, tmp_path: Path
) -> None:
    other = make_seal(tmp_path)
    stranger = Printer(str(other.store), other.password, str(other.root))
    with pytest.raises(SealBroken, match="does not hold"):
        printer.check(stranger.seal(document, certificate_of(document)))


def test_a_seal_over_a_document_that_it_does_not_name_is_refused(
    seal_files: SealFiles, document: bytes
) -> None:
    sealer = Sealer(seal_files.store, seal_files.password, (seal_files.root,))
    facts = {"document_bytes": len(document), "document_sha256": HASH}
    with pytest.raises(SealBroken, match="does not begin with the document"):
        sealer.check(sealer.seal(document, [Note("x")], footer="f", audit=facts))


def test_any_key_seals_and_its_message_is_the_one_that_pyhanko_makes(
    document: bytes, tmp_path: Path
) -> None:
    files = make_seal(tmp_path, rsa.generate_private_key(65537, 2048))  # signs the same each time
    theirs: Any = SimpleSigner.load_pkcs12(  # type: ignore[no-untyped-call]
        str(files.store), passphrase=files.password.encode()
    )
    theirs.embed_roots = False
    ours = Signer.of(files.store, files.password)
    digest = hashlib.sha256(document).digest()
    made, expected = (
        asyncio.run(signer.async_sign(digest, "sha256", use_pades=True)).dump()
        for signer in (ours, theirs)
    )
    assert made == expected
    printer = Printer(str(files.store), files.password, str(files.root))
    assert printer.check(printer.seal(document, certificate_of(document)))
