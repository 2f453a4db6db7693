"""What several routes answer with, and refuse with."""

from datetime import timedelta

from fastapi import Request

from contracts import use_cases
from contracts.documents.storage import PRESIGNED_SECONDS, Storage
from contracts.errors import (
    AlreadySigned,
    ContractNotFound,
    DocumentDiffers,
    MayNotSign,
    SignerNotYetKnown,
    SigningTimeOver,
)
from contracts.models import Contract
from contracts.schemas import ContractView, DocumentView
from shared import clock, idempotency
from shared.database import Transaction
from shared.lifecycle import IllegalMove

SIGNING_REFUSALS = (
    ContractNotFound,
    MayNotSign,
    SignerNotYetKnown,
    DocumentDiffers,
    AlreadySigned,
    SigningTimeOver,
    IllegalMove,
    *idempotency.REFUSALS,
)


async def document_view(
    request: Request, session: Transaction, stored: use_cases.Stored
) -> DocumentView:
    storage: Storage = request.app.state.storage
    return DocumentView(
        url=storage.presigned_url(stored.key, stored.version_id, stored.file_name),
        sha256=stored.sha256,
        expires_at=await clock.now(session) + timedelta(seconds=PRESIGNED_SECONDS),
    )


async def contract_view(session: Transaction, contract: Contract) -> ContractView:
    return ContractView.of(await use_cases.show_contract(session, contract))
