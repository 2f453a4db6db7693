"""The platform's seal: a PAdES certification over the signed document, its certificate of
signatures and `audit.json`.

A sealed file begins with the signed document, byte for byte; all else is one incremental update
behind it. So the hash that the parties signed can be checked again for ever, and a sealed file
tells which document it belongs to.
"""

import asyncio
import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from asn1crypto import cms, pem, x509
from asn1crypto.core import Asn1Value
from pyhanko.pdf_utils.embed import EmbeddedFileObject, FileSpec, embed_file
from pyhanko.pdf_utils.generic import IndirectObject, NumberObject, PdfObject
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.timestamps import HTTPTimeStamper
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import PdfSignatureStatus, SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from contracts.documents import message
from contracts.documents.page import Block
from contracts.documents.paint import paint_onto

FIELD = "PlatformSeal"
AUDIT = "audit.json"
SIGNATURES_VARY, TIMESTAMP_CHARACTERS = 16, 32_768
"""By how many bytes one may be longer than another of the same key; place for a timestamp."""
TSA_WITHIN_SECONDS = 10
RANGES_TRIED = 3
"""A file may claim many seals; ours has one."""
_MARKS = (FIELD.encode(), b"Bloxtr8 contracts", b"SHA-256 of the terms")
"""Each of our documents has two at least: a changed byte can spoil one only."""
_RANGE = re.compile(rb"/ByteRange\s*\[\s*0\s+\d{1,9}\s+(\d{1,9})\s+(\d{1,9})\s*\]")


class SealBroken(Exception):
    """The file does not carry our seal unharmed; says why, for people."""


@dataclass(frozen=True)
class Sealer:
    """Seals and checks with one key and the authority above it."""

    pkcs12_file: Path
    password: str
    root_files: tuple[Path, ...]
    """The seal's authority, then the timestamps' where there are any."""
    tsa_url: str = ""
    """Who timestamps seals (RFC 3161); nobody when empty."""

    @cached_property
    def _signer(self) -> PdfSigner:
        signer = message.Signer.of(self.pkcs12_file, self.password)
        meta = PdfSignatureMetadata(
            field_name=FIELD,
            md_algorithm="sha256",
            subfilter=SigSeedSubFilter.PADES,
            certify=True,
            docmdp_permissions=MDPPerm.NO_CHANGES,
            reason="Both parties have signed this contract electronically.",
        )
        if not self.tsa_url:
            return PdfSigner(meta, signer)
        clock = HTTPTimeStamper(self.tsa_url, timeout=TSA_WITHIN_SECONDS)
        return PdfSigner(meta, signer, timestamper=clock)

    @cached_property
    def _room(self) -> int:
        """Characters for a seal; found out by pyHanko it would cost each document a signature."""
        made = asyncio.run(self._signer.signer.async_sign(bytes(32), "sha256"))
        room = 2 * (len(made.dump()) + SIGNATURES_VARY)
        return room + (TIMESTAMP_CHARACTERS if self.tsa_url else 0)

    @cached_property
    def _roots(self) -> list[x509.Certificate]:
        return [certificate_of(file) for file in self.root_files]

    def seal(
        self, document: bytes, pages: Sequence[Block], *, footer: str, audit: dict[str, Any]
    ) -> bytes:
        """The PDF that was signed, with pages and `audit.json` appended, sealed; `audit` names the
        document as `document_sha256` and `document_bytes`.
        """
        writer = IncrementalPdfFileWriter(io.BytesIO(document))
        file = _Behind(writer)
        file.take(paint_onto(file, pages, footer=footer))
        facts = json.dumps(audit, indent=2, ensure_ascii=False).encode()
        attached = EmbeddedFileObject.from_file_data(writer, facts, mime_type="application/json")
        embed_file(
            writer,
            FileSpec(AUDIT, file_name=AUDIT, embedded_data=attached, description="Audit trail"),
        )
        sealed: bytes = self._signer.sign_pdf(writer, bytes_reserved=self._room).getvalue()
        return sealed

    def check(self, sealed: bytes) -> dict[str, Any]:
        """The `audit.json` of a file that carries our seal unharmed.

        Raises:
            SealBroken: it is no PDF, not sealed by us, altered, or has something appended.
        """
        return check(sealed, self._roots)


class _Spelt(PdfObject):
    """An object whose bytes are there already."""

    def __init__(self, spelt: bytes) -> None:
        self._spelt = spelt

    def write_to_stream(self, stream: Any, *_: Any, **__: Any) -> None:
        stream.write(self._spelt)


class _Behind:
    """`Pages` behind those of a document of ours."""

    def __init__(self, writer: IncrementalPdfFileWriter) -> None:
        self._writer = writer
        self._tree = writer.root.raw_get("/Pages")
        self.tree = f"{self._tree.idnum} 0 R"

    def add(self, spelt: bytes) -> str:
        return f"{self._writer.add_object(_Spelt(spelt)).idnum} 0 R"

    def take(self, pages: Sequence[str]) -> None:
        tree = self._tree.get_object()
        tree["/Kids"] += [
            IndirectObject(int(page.split()[0]), 0, self._writer)  # type: ignore[no-untyped-call]
            for page in pages
        ]
        tree["/Count"] = NumberObject(len(tree["/Kids"]))  # type: ignore[no-untyped-call]
        self._writer.mark_update(self._tree)


def certificate_of(file: Path) -> x509.Certificate:
    """The certificate in a PEM or DER file."""
    data = file.read_bytes()
    return x509.Certificate.load(pem.unarmor(data)[2] if pem.detect(data) else data)


def check(sealed: bytes, roots: Sequence[x509.Certificate]) -> dict[str, Any]:
    """As `Sealer.check`, with the authorities' certificates alone.

    Raises:
        SealBroken: it is no PDF, not sealed by us, altered, or has something appended.
    """
    try:
        reader = PdfFileReader(io.BytesIO(sealed))
        signature = _only_seal(reader)
        by_us, by_tsa = (
            ValidationContext(trust_roots=[*some], allow_fetching=False)
            for some in (roots[:1], roots[1:])
        )
        status = validate_pdf_signature(signature, by_us, by_tsa)
        _judge(status)
        _check_place(sealed, signature)
        audit = _attached(reader)
        length, digest = int(audit["document_bytes"]), str(audit["document_sha256"])
    except SealBroken:
        raise
    except Exception as error:  # whatever a hostile file does to a parser, it is not ours
        raise SealBroken(f"The file cannot be read: {error}") from error
    if hashlib.sha256(sealed[:length]).hexdigest() != digest:
        raise SealBroken("The file does not begin with the document that its seal names.")
    return audit


def look_at(file: bytes, roots: Sequence[x509.Certificate]) -> dict[str, Any]:
    """What a stranger's file is, as `Examined` in JSON: `seal`, `reason`, `hashes`."""
    hashes = [hashlib.sha256(file).hexdigest()]
    try:
        audit = check(file, roots)
    except SealBroken as broken:
        if (length := _sealed_length(file, roots)) is not None:
            hashes.append(hashlib.sha256(file[:length]).hexdigest())
            reason = f"After sealing {len(file) - length} bytes were appended."
            return {"seal": "APPENDED", "reason": reason, "hashes": hashes}
        is_marked = any(mark in file for mark in _MARKS)
        return {"seal": "BROKEN" if is_marked else "NONE", "reason": str(broken), "hashes": hashes}
    hashes.append(str(audit["document_sha256"]))
    reason = "The seal holds and covers the entire file."
    return {"seal": "HOLDS", "reason": reason, "hashes": hashes}


def _sealed_length(file: bytes, roots: Sequence[x509.Certificate]) -> int | None:
    """How many bytes at the beginning are a sealed file of ours; None when nothing is."""
    for found in list(_RANGE.finditer(file))[:RANGES_TRIED]:
        length = int(found[1]) + int(found[2])
        with contextlib.suppress(SealBroken):
            check(file[:length], roots)
            return length
    return None


def _only_seal(reader: PdfFileReader) -> EmbeddedPdfSignature:
    signatures: list[EmbeddedPdfSignature] = list(reader.embedded_signatures)
    if [signature.field_name for signature in signatures] != [FIELD]:
        raise SealBroken("The file does not carry exactly our seal.")
    return signatures[0]


def _judge(status: PdfSignatureStatus) -> None:
    # "Intact" alone would accept what was appended after sealing.
    if status.coverage is not SignatureCoverageLevel.ENTIRE_FILE:
        raise SealBroken("The seal does not cover the entire file.")
    if not status.bottom_line:
        raise SealBroken(f"The seal does not hold: {status.summary()}.")


def _check_place(sealed: bytes, signature: EmbeddedPdfSignature) -> None:
    """The seal cannot cover the place it stands in, so that must hold exactly what we put there:
    the parts which the signature vouches for, spelt as we spell them, its timestamp if it has one,
    and zeros.
    """
    _, start, end, _ = (int(number) for number in signature.byte_range)
    signer = signature.signer_info
    spelt = message.spelt(
        certificates=_each(signature.signed_data["certificates"]),
        sid=signer["sid"].dump(),
        algorithm=signer["signature_algorithm"].dump(),
        signed=_each(signer["signed_attrs"]),
        signature=signer["signature"].native,
        unsigned=_timestamp(signer),
    )
    expected = spelt.hex().upper().encode().ljust(end - start - 2, b"0")
    if sealed[start:end] != b"<" + expected + b">":
        raise SealBroken("In the place of the seal stands something else.")


def _timestamp(signer: cms.SignerInfo) -> list[bytes]:
    """The one unsigned attribute that may be there; who made it has been checked."""
    unsigned = signer["unsigned_attrs"]
    kinds = [(attribute["type"].native, len(attribute["values"])) for attribute in unsigned]
    return _each(unsigned) if kinds == [("signature_time_stamp_token", 1)] else []


def _each(parts: Iterable[Asn1Value]) -> list[bytes]:
    return [part.dump() for part in parts]


def _attached(reader: PdfFileReader) -> dict[str, Any]:
    names = reader.root["/Names"]["/EmbeddedFiles"]["/Names"]
    [name, specification] = [names[number] for number in range(len(names))]
    if name != AUDIT:
        raise SealBroken("The file carries another attachment than ours.")
    found: dict[str, Any] = json.loads(specification["/EF"]["/F"].data)
    return found
