"""What the press can do; pure computation on bytes."""

from pathlib import Path
from typing import Any

from contracts.documents import certificate, contract, paint, pictures, template
from contracts.documents.inputs import Certificate, Draft
from contracts.documents.sealing import Sealer


class Renderer:
    """Needs no key."""

    def render(self, draft: dict[str, Any], terms: dict[str, Any]) -> bytes:
        """The document to sign; the same input makes the same bytes."""
        frozen, words = Draft.model_validate(draft), template.read(terms)
        return paint.paint(
            contract.blocks(frozen, words),
            footer=f"Contract {frozen.contract_id}  \u00b7  template {words.version}",
            title=f"Contract {frozen.contract_id}",
            subject=f"SHA-256 of the terms {contract.terms_sha256(frozen)}",
        )

    def remake(self, data: bytes) -> bytes:
        """A picture from outside as it may go into a document."""
        return pictures.remade(data)


class Printer(Renderer):
    def __init__(
        self,
        pkcs12_file: str,
        password: str,
        root_file: str,
        tsa_root_file: str = "",
        tsa_url: str = "",
    ) -> None:
        roots = tuple(Path(file) for file in (root_file, tsa_root_file) if file)
        self._sealer = Sealer(Path(pkcs12_file), password, roots, tsa_url)

    def seal(self, document: bytes, facts: dict[str, Any]) -> bytes:
        """The document with its certificate of signatures, sealed; the seal has been checked."""
        signed = Certificate.model_validate(facts)
        sealed = self._sealer.seal(
            document,
            certificate.blocks(signed, document_bytes=len(document)),
            footer=f"Certificate of contract {signed.contract_id}",
            audit=certificate.audit(signed, document_bytes=len(document)),
        )
        self._sealer.check(sealed)
        return sealed

    def check(self, sealed: bytes) -> dict[str, Any]:
        """The `audit.json` of a file that carries our seal."""
        return self._sealer.check(sealed)
