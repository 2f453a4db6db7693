"""What staff hand to the bank when a buyer charges a payment back."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from escrow import repository
from escrow.case_schemas import CaseView
from escrow.errors import EscrowNotFound
from escrow.evidence.storage import PRESIGNED_SECONDS
from escrow.routes.disputes import read_case
from shared import clock, problems
from shared.auth import Staff
from shared.errors import Forbidden
from shared.events.contracts import SealedDocument
from shared.transactions import Transaction
from shared.web import View

router = APIRouter(tags=["holds"])


class DocumentLink(View):
    url: str
    """Works without a login until it expires."""
    sha256: str
    expires_at: datetime


class PackageView(View):
    """The evidence of one trade: what was agreed, what was delivered, and when what happened."""

    contract: DocumentLink
    """The sealed contract, signed by both sides."""
    game: dict[str, Any]
    """As it was seen when the terms were accepted."""
    delivery_proof: dict[str, Any] | None
    """The game seen with the buyer on the platform itself."""
    case: CaseView
    """Deliveries, disputes, payments and the whole history."""


@router.get(
    "/v1/escrows/{escrow_id}/evidence-package",
    responses=problems.responses(EscrowNotFound, Forbidden),
)
async def read_package(
    escrow_id: UUID, request: Request, session: Transaction, staff: Staff
) -> PackageView:
    """For staff: the evidence against a chargeback, with a link to the sealed contract."""
    case = await read_case(escrow_id, session, staff)
    escrow = await repository.escrow(session, escrow_id)
    sealed = SealedDocument.model_validate(escrow.sealed_document)
    expires_at = await clock.now(session) + timedelta(seconds=PRESIGNED_SECONDS)
    return PackageView(
        contract=DocumentLink(
            url=request.app.state.storage.sealed_url(sealed, f"contract-{escrow.contract_id}.pdf"),
            sha256=sealed.sha256,
            expires_at=expires_at,
        ),
        game=escrow.deal["game"],
        delivery_proof=escrow.observed_transfer,
        case=case,
    )
