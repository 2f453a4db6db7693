"""What the press can do without a key; pure computation on bytes."""

from typing import Any

from contracts.documents import contract, paint, pictures, template
from contracts.documents.inputs import Draft


class Renderer:
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
