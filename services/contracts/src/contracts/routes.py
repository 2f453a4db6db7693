"""HTTP: parse, call one use case, present."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from contracts import use_cases
from contracts.documents.storage import PRESIGNED_SECONDS, Storage
from contracts.errors import (
    AlreadySigned,
    ContractNotFound,
    DocumentDiffers,
    DocumentNotMade,
    LinkNotUsable,
    MayNotSign,
    SignerNotYetKnown,
    SigningTimeOver,
)
from contracts.lifecycle import ContractStatus
from contracts.models import Contract
from contracts.schemas import (
    ContractView,
    DeclineRequest,
    DocumentView,
    LinkDeclineRequest,
    LinkedContractView,
    LinkRequest,
    LinkSignRequest,
    LinkView,
    SignRequest,
    VoidRequest,
)
from contracts.use_cases import Reader
from shared import audit, clock, idempotency, limits, problems, web
from shared.auth import Caller, Principal, Staff
from shared.database import Transaction
from shared.errors import Forbidden, TooManyRequests
from shared.idempotency import Once, OnceIfKeyed
from shared.lifecycle import IllegalMove

router = APIRouter(prefix="/v1/contracts", tags=["contracts"])

_SIGNING = (
    ContractNotFound,
    MayNotSign,
    SignerNotYetKnown,
    DocumentDiffers,
    AlreadySigned,
    SigningTimeOver,
    IllegalMove,
    *idempotency.REFUSALS,
)
_LINK = (LinkNotUsable, TooManyRequests)
LINKS_PER_HOUR = 20
LINK_USES_PER_MINUTE = 120


def _reader(caller: Principal) -> Reader:
    return Reader(caller.user_id, is_staff=caller.is_staff)


async def _limit_guesses(request: Request) -> None:
    """Links are no use to somebody who tries many, whatever they are for."""
    ip = audit.origin.get().ip
    await limits.hit(
        request.app.state.sessions, f"link:{ip}", limit=LINK_USES_PER_MINUTE, per_seconds=60
    )


_NotTooManyGuesses = Depends(_limit_guesses)


async def _document(
    request: Request, session: Transaction, stored: use_cases.Stored
) -> DocumentView:
    storage: Storage = request.app.state.storage
    return DocumentView(
        url=storage.presigned_url(stored.key, stored.version_id, stored.file_name),
        sha256=stored.sha256,
        expires_at=await clock.now(session) + timedelta(seconds=PRESIGNED_SECONDS),
    )


async def _view(session: Transaction, contract: Contract) -> ContractView:
    return ContractView.of(await use_cases.show_contract(session, contract))


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
    responses=problems.responses(ContractNotFound, DocumentNotMade),
)
async def open_document(
    contract_id: UUID, request: Request, session: Transaction, caller: Caller
) -> DocumentView:
    stored = await use_cases.open_document(session, contract_id, _reader(caller))
    return await _document(request, session, stored)


@router.post(
    "/{contract_id}/sign",
    summary="Sign",
    response_model=ContractView,
    responses=problems.responses(*_SIGNING),
)
async def sign(
    contract_id: UUID, body: SignRequest, session: Transaction, caller: Caller, once: Once
) -> Response:
    async def command() -> ContractView:
        contract = await use_cases.sign(session, contract_id, caller.user_id, body.document_sha256)
        return await _view(session, contract)

    return await once(command)


@router.post(
    "/{contract_id}/decline",
    summary="Decline",
    response_model=ContractView,
    responses=problems.responses(ContractNotFound, IllegalMove, *idempotency.REFUSALS),
)
async def decline(
    contract_id: UUID,
    body: DeclineRequest,
    session: Transaction,
    caller: Caller,
    once: OnceIfKeyed,
) -> Response:
    async def command() -> ContractView:
        contract = await use_cases.decline(session, contract_id, caller.user_id, body.reason)
        return await _view(session, contract)

    return await once(command)


@router.post(
    "/{contract_id}/sign-link",
    summary="A link to sign on the web; it replaces older ones",
    response_model=LinkView,
    responses=problems.responses(*_SIGNING, TooManyRequests),
)
async def make_link(
    contract_id: UUID, request: Request, session: Transaction, caller: Caller, once: OnceIfKeyed
) -> Response:
    await limits.hit(
        request.app.state.sessions,
        f"sign-link:{caller.user_id}",
        limit=LINKS_PER_HOUR,
        per_seconds=3600,
    )

    async def command() -> LinkView:
        secret, link = await use_cases.make_link(session, contract_id, caller.user_id)
        origin = request.app.state.settings.public_url.rstrip("/")
        return LinkView(url=f"{origin}/sign#{secret}", expires_at=link.expires_at)

    return await once(command, secret=True)


@router.post(
    "/link/view",
    summary="Read the contract a link was made for; the link stays usable",
    responses=problems.responses(*_LINK, DocumentNotMade),
    dependencies=[_NotTooManyGuesses],
)
async def view_by_link(
    body: LinkRequest, request: Request, session: Transaction
) -> LinkedContractView:
    shown, stored = await use_cases.show_by_link(session, body.token)
    return LinkedContractView(
        contract=ContractView.of(shown), document=await _document(request, session, stored)
    )


@router.post(
    "/link/sign",
    summary="Sign by link; it is then used up",
    response_model=ContractView,
    responses=problems.responses(*_LINK, *_SIGNING),
    dependencies=[_NotTooManyGuesses],
)
async def sign_by_link(body: LinkSignRequest, request: Request, session: Transaction) -> Response:
    async def command() -> ContractView:
        contract = await use_cases.sign_by_link(session, body.token, body.document_sha256)
        return await _view(session, contract)

    return await _once_by_link(request, session, body)(command)


@router.post(
    "/link/decline",
    summary="Decline by link; it is then used up",
    response_model=ContractView,
    responses=problems.responses(*_LINK, IllegalMove, *idempotency.REFUSALS),
    dependencies=[_NotTooManyGuesses],
)
async def decline_by_link(
    body: LinkDeclineRequest, request: Request, session: Transaction
) -> Response:
    async def command() -> ContractView:
        contract = await use_cases.decline_by_link(session, body.token, body.reason)
        return await _view(session, contract)

    return await _once_by_link(request, session, body)(command)


def _once_by_link(
    request: Request, session: Transaction, body: LinkSignRequest | LinkDeclineRequest
) -> idempotency.Guard:
    caller = f"link:{use_cases.hash_of(body.token)}"
    return idempotency.once_for(
        request, session, caller=caller, required=isinstance(body, LinkSignRequest)
    )


@router.post(
    "/{contract_id}/retry",
    summary="Execute again what has failed",
    response_model=ContractView,
    responses=problems.responses(ContractNotFound, IllegalMove, *idempotency.REFUSALS),
)
async def retry(
    contract_id: UUID, session: Transaction, caller: Caller, once: OnceIfKeyed
) -> Response:
    async def command() -> ContractView:
        return await _view(session, await use_cases.retry(session, contract_id, _reader(caller)))

    return await once(command)


@router.post(
    "/{contract_id}/void",
    summary="Give up a contract whose execution has failed (staff)",
    response_model=ContractView,
    responses=problems.responses(Forbidden, ContractNotFound, IllegalMove, *idempotency.REFUSALS),
)
async def void(
    contract_id: UUID, body: VoidRequest, session: Transaction, caller: Staff, once: OnceIfKeyed
) -> Response:
    async def command() -> ContractView:
        reader = _reader(caller)
        return await _view(session, await use_cases.void(session, contract_id, reader, body.reason))

    return await once(command)
