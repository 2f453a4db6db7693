"""What the press can do with the key to seal; pure computation on bytes."""

from pathlib import Path
from typing import Any

from contracts.documents import certificate
from contracts.documents.inputs import Certificate
from contracts.documents.rendering import Renderer
from contracts.documents.sealing import Sealer


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
