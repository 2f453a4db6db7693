"""The platform's seal: a PAdES certification over the signed document, its certificate of
signatures and `audit.json`.

A sealed file begins with the signed document, byte for byte; all else is one incremental update
behind it. So the hash that the parties signed can be checked again for ever, and a sealed file
tells which document it belongs to.
"""

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from asn1crypto import cms, x509
from cryptography.hazmat.asn1 import encode_der
from pyhanko.pdf_utils.embed import EmbeddedFileObject, FileSpec, embed_file
from pyhanko.pdf_utils.generic import IndirectObject, NumberObject, PdfObject
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko.sign.general import as_signing_certificate_v2
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner, SimpleSigner
from pyhanko.sign.timestamps import HTTPTimeStamper, TimeStamper

from contracts.documents.message import set_of, spelt
from contracts.documents.page import Block
from contracts.documents.paint import paint_onto
from contracts.documents.seal import AUDIT, FIELD, certificate_of, check

SIGNATURES_VARY, TIMESTAMP_CHARACTERS = 16, 32_768
"""By how many bytes one may be longer than another of the same key; place for a timestamp."""
TSA_WITHIN_SECONDS = 10


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
        signer = Signer.of(self.pkcs12_file, self.password)
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


class Signer(SimpleSigner):
    """Makes the messages that pyHanko makes, but encodes what all of them have in common once:
    pyHanko's structures take longer to encode than a signature to compute.
    """

    @classmethod
    def of(cls, pkcs12_file: Path, password: str) -> Self:
        """With the key and the certificates of a file.

        Raises:
            ValueError: it holds no key that the password opens.
        """
        loaded = SimpleSigner.load_pkcs12(  # type: ignore[no-untyped-call]
            str(pkcs12_file), passphrase=password.encode()
        )
        if loaded is None:
            raise ValueError(f"{pkcs12_file} holds no key that its password opens.")
        return cls(loaded.signing_cert, loaded.signing_key, loaded.cert_registry)

    async def async_sign(
        self,
        data_digest: bytes,
        digest_algorithm: str,
        dry_run: bool = False,
        *_: Any,
        timestamper: TimeStamper | None = None,
        **__: Any,
    ) -> cms.ContentInfo:
        """As PAdES wants it, over a digest by SHA-256."""
        assert digest_algorithm == "sha256"
        signed = [*self._attributes, _attribute("message_digest", data_digest)]
        told = encode_der(set_of(signed))
        signature = await self.async_sign_raw(told, digest_algorithm, dry_run)
        unsigned = await self.unsigned_attrs(
            digest_algorithm,
            signature,
            signed_attrs=cms.CMSAttributes.load(told),
            timestamper=timestamper,
            dry_run=dry_run,
        )
        message = spelt(
            certificates=self._certificates,
            sid=self._sid,
            algorithm=self._algorithm,
            signed=signed,
            signature=signature,
            unsigned=[attribute.dump() for attribute in unsigned or ()],
        )
        return cms.ContentInfo.load(message)

    @cached_property
    def _certificates(self) -> list[bytes]:
        """Its own and those between it and its root, which the seal would not cover."""
        between = (one for one in self.cert_registry if one.self_signed == "no")
        return sorted({one.dump() for one in (self.signing_cert, *between)})

    @cached_property
    def _sid(self) -> bytes:
        own: Any = self.signing_cert
        named = {"issuer": own.issuer, "serial_number": own.serial_number}
        return bytes(cms.IssuerAndSerialNumber(named).dump())

    @cached_property
    def _algorithm(self) -> bytes:
        return bytes(self.get_signature_mechanism_for_digest("sha256").dump())

    @cached_property
    def _attributes(self) -> list[bytes]:
        """Those of PAdES that are the same each time."""
        own = as_signing_certificate_v2(self.signing_cert)
        return [_attribute("content_type", "data"), _attribute("signing_certificate_v2", own)]


def _attribute(kind: str, value: Any) -> bytes:
    return bytes(cms.CMSAttribute({"type": kind, "values": [value]}).dump())


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
