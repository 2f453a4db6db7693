"""Whether a file carries the platform's seal, unharmed and over all of it."""

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from asn1crypto import cms, pem, x509
from asn1crypto.core import Asn1Value
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import PdfSignatureStatus, SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from contracts.documents import message

FIELD = "PlatformSeal"
AUDIT = "audit.json"
RANGES_TRIED = 3
"""A file may claim many seals; ours has one."""
_END, _END_WITHIN_BYTES = b"%%EOF", 1024
_MARKS = (FIELD.encode(), b"Bloxtr8 contracts", b"SHA-256 of the terms")
"""Each of our documents has two at least: a changed byte can spoil one only."""
_RANGE = re.compile(rb"/ByteRange\s*\[\s*0\s+\d{1,9}\s+(\d{1,9})\s+(\d{1,9})\s*\]")


class SealBroken(Exception):
    """The file does not carry our seal unharmed; says why, for people."""


def certificate_of(file: Path) -> x509.Certificate:
    """The certificate in a PEM or DER file."""
    data = file.read_bytes()
    return x509.Certificate.load(pem.unarmor(data)[2] if pem.detect(data) else data)


def check(sealed: bytes, roots: Sequence[x509.Certificate]) -> dict[str, Any]:
    """The `audit.json` of a file that carries our seal unharmed.

    Args:
        sealed: the whole file.
        roots: the seal's authority, then the timestamps' where there are any.

    Raises:
        SealBroken: it is no PDF, not sealed by us, altered, or has something appended.
    """
    if _END not in sealed[-_END_WITHIN_BYTES:]:  # the reader would look for it byte by byte
        raise SealBroken("The file cannot be read: it does not end as a PDF does.")
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
