"""What several routes answer with, and refuse with."""

from datetime import timedelta

from fastapi import Request

from contracts import use_cases, wallets
from contracts.documents.storage import PRESIGNED_SECONDS, Storage
from contracts.errors import (
    AlreadySigned,
    ContractNotFound,
    DocumentDiffers,
    MayNotSign,
    SignerNotYetKnown,
    SigningTimeOver,
    WalletDiffers,
    WalletSignatureInvalid,
)
from contracts.models import Contract
from contracts.schemas import ContractView, DocumentView, SignRequest
from contracts.wallets import WalletSignature
from shared import clock, idempotency
from shared.lifecycle import IllegalMove
from shared.transactions import Transaction

SIGNING_REFUSALS = (
    ContractNotFound,
    MayNotSign,
    SignerNotYetKnown,
    DocumentDiffers,
    AlreadySigned,
    SigningTimeOver,
    WalletDiffers,
    WalletSignatureInvalid,
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
        typed_data=wallets.typed_data(stored.signed_sha256),
    )


async def wallet_of(body: SignRequest) -> WalletSignature | None:
    """Who signed with a wallet, if anybody did.

    Raises:
        WalletSignatureInvalid: the signature is nobody's.
    """
    if body.wallet_signature is None:
        return None
    return await wallets.recover(body.document_sha256, body.wallet_signature)


async def contract_view(session: Transaction, contract: Contract) -> ContractView:
    return ContractView.of(await use_cases.show_contract(session, contract))
