"""Contracts as parties and staff see them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import use_cases
from contracts.errors import ContractNotFound, DocumentNotMade, MayNotSign, NotConfirmed
from contracts.lifecycle import ContractStatus
from contracts.models import SignatureMethod
from contracts.routes.present import SIGNING_REFUSALS, contract_view, document_view, wallet_of
from contracts.schemas import (
    ContractView,
    DeclineRequest,
    DocumentView,
    HistoryView,
    LinkView,
    OwnSignRequest,
    VoidRequest,
)
from contracts.use_cases import Reader
from shared import idempotency, limits, problems, web
from shared.auth import Caller, Principal, Staff
from shared.errors import Forbidden, TooManyRequests
from shared.idempotency import Once, OnceIfKeyed
from shared.lifecycle import IllegalMove
from shared.transactions import Transaction

router = APIRouter(prefix="/v1/contracts", tags=["contracts"])

LINKS_PER_HOUR = 20
CONFIRMATION = "I AGREE"
SIGN_SCOPE = "sign"


def _reader(caller: Principal) -> Reader:
    return Reader(caller.user_id, is_staff=caller.is_staff)


def _method(caller: Principal, confirmation: str | None, discord: str) -> SignatureMethod:
    """How the caller signs, which the token decides.

    Raises:
        MayNotSign: a client acts that may not sign for its user.
        NotConfirmed: it is Discord without the words, or the words without Discord.
    """
    if caller.client not in {None, discord}:
        raise MayNotSign("This client may not sign for you.")
    if caller.scopes is not None and SIGN_SCOPE not in caller.scopes:
        raise MayNotSign("The token is not for signing.")
    if confirmation != (None if caller.client is None else CONFIRMATION):
        raise NotConfirmed
    return SignatureMethod.API if caller.client is None else SignatureMethod.DISCORD_NATIVE


@router.get("", summary="My contracts, newest first")
async def read_contracts(
    session: Transaction,
    caller: Caller,
    page: web.PageParams,
    offer_id: UUID | None = None,
    status: Annotated[ContractStatus | None, Query()] = None,
) -> web.Page[ContractView]:
    before = web.decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    shown = await use_cases.show_many(
        session,
        _reader(caller),
        offer_id=offer_id,
        status=status,
        before=before,
        limit=page.limit + 1,
    )
    items = [ContractView.of(one) for one in shown[: page.limit]]
    has_more = len(shown) > page.limit
    return web.Page[ContractView](
        items=items, next_cursor=web.encode_cursor(items[-1].id) if has_more else None
    )


@router.get(
    "/{contract_id}", summary="One contract", responses=problems.responses(ContractNotFound)
)
async def read_contract(contract_id: UUID, session: Transaction, caller: Caller) -> ContractView:
    return ContractView.of(await use_cases.show(session, contract_id, _reader(caller)))


@router.get(
    "/{contract_id}/document",
    summary="Where to read the current document",
    responses=problems.responses(ContractNotFound, DocumentNotMade, TooManyRequests),
)
async def open_document(
    contract_id: UUID, request: Request, session: Transaction, caller: Caller
) -> DocumentView:
    stored = await use_cases.open_document(session, contract_id, _reader(caller))
    return await document_view(request, session, stored)


@router.get(
    "/{contract_id}/history",
    summary="What has happened, oldest first; staff see full addresses and the execution",
    responses=problems.responses(ContractNotFound),
)
async def read_history(
    contract_id: UUID, session: Transaction, caller: Caller, page: web.PageParams
) -> HistoryView:
    after = web.decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    reader = _reader(caller)
    history = await use_cases.show_history(
        session, contract_id, reader, after=after, limit=page.limit + 1
    )
    return HistoryView.of(history, page.limit, is_staff=reader.is_staff)


@router.post(
    "/{contract_id}/sign",
    summary="Sign",
    response_model=ContractView,
    responses=problems.responses(*SIGNING_REFUSALS, NotConfirmed),
)
async def sign(
    contract_id: UUID,
    body: OwnSignRequest,
    request: Request,
    caller: Caller,
    once: Once,
) -> Response:
    method = _method(caller, body.confirmation, request.app.state.settings.discord_client)
    wallet = await wallet_of(body)

    async def command(session: AsyncSession) -> ContractView:
        contract = await use_cases.sign(
            session, contract_id, caller.user_id, body.document_sha256, method, wallet
        )
        return await contract_view(session, contract)

    return await once(caller.user_id, command)


@router.post(
    "/{contract_id}/decline",
    summary="Decline",
    response_model=ContractView,
    responses=problems.responses(ContractNotFound, IllegalMove, *idempotency.REFUSALS),
)
async def decline(
    contract_id: UUID,
    body: DeclineRequest,
    caller: Caller,
    once: OnceIfKeyed,
) -> Response:
    async def command(session: AsyncSession) -> ContractView:
        contract = await use_cases.decline(session, contract_id, caller.user_id, body.reason)
        return await contract_view(session, contract)

    return await once(caller.user_id, command)


@router.post(
    "/{contract_id}/sign-link",
    summary="A link to sign on the web; it replaces older ones",
    response_model=LinkView,
    responses=problems.responses(*SIGNING_REFUSALS, TooManyRequests),
)
async def make_link(
    contract_id: UUID, request: Request, caller: Caller, once: OnceIfKeyed
) -> Response:
    await limits.hit(
        request.app.state.sessions,
        f"sign-link:{caller.user_id}",
        limit=LINKS_PER_HOUR,
        per_seconds=3600,
    )

    async def command(session: AsyncSession) -> LinkView:
        secret, link = await use_cases.make_link(session, contract_id, caller.user_id)
        origin = request.app.state.settings.public_url.rstrip("/")
        return LinkView(url=f"{origin}/sign#{secret}", expires_at=link.expires_at)

    return await once(caller.user_id, command, secret=True)


@router.post(
    "/{contract_id}/retry",
    summary="Execute again what has failed",
    response_model=ContractView,
    responses=problems.responses(ContractNotFound, IllegalMove, *idempotency.REFUSALS),
)
async def retry(contract_id: UUID, caller: Caller, once: OnceIfKeyed) -> Response:
    async def command(session: AsyncSession) -> ContractView:
        return await contract_view(
            session, await use_cases.retry(session, contract_id, _reader(caller))
        )

    return await once(caller.user_id, command)


@router.post(
    "/{contract_id}/void",
    summary="Give up a contract whose execution has failed (staff)",
    response_model=ContractView,
    responses=problems.responses(Forbidden, ContractNotFound, IllegalMove, *idempotency.REFUSALS),
)
async def void(contract_id: UUID, body: VoidRequest, caller: Staff, once: OnceIfKeyed) -> Response:
    async def command(session: AsyncSession) -> ContractView:
        reader = _reader(caller)
        return await contract_view(
            session, await use_cases.void(session, contract_id, reader, body.reason)
        )

    return await once(caller.user_id, command)
