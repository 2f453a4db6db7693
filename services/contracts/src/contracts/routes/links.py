"""Magic links: the secret in the body is the credential; a GET would be fetched by previews."""

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import use_cases
from contracts.errors import DocumentNotMade, LinkNotUsable
from contracts.routes.present import SIGNING_REFUSALS, contract_view, document_view, wallet_of
from contracts.schemas import (
    ContractView,
    LinkDeclineRequest,
    LinkedContractView,
    LinkRequest,
    LinkSignRequest,
)
from shared import audit, idempotency, limits, problems
from shared.errors import TooManyRequests
from shared.idempotency import Once, OnceIfKeyed
from shared.lifecycle import IllegalMove
from shared.transactions import Transaction

router = APIRouter(prefix="/v1/contracts/link", tags=["links"])

USES_PER_MINUTE = 120
_REFUSALS = (LinkNotUsable, TooManyRequests)


async def _limit_guesses(request: Request) -> None:
    """Links are no use to somebody who tries many, whatever they are for."""
    ip = audit.origin.get().ip
    await limits.hit(
        request.app.state.sessions, f"link:{ip}", limit=USES_PER_MINUTE, per_seconds=60
    )


_NotTooManyGuesses = Depends(_limit_guesses)


@router.post(
    "/view",
    summary="Read the contract a link was made for; the link stays usable",
    responses=problems.responses(*_REFUSALS, DocumentNotMade),
    dependencies=[_NotTooManyGuesses],
)
async def view_by_link(
    body: LinkRequest, request: Request, session: Transaction
) -> LinkedContractView:
    shown, stored = await use_cases.show_by_link(session, body.token)
    return LinkedContractView(
        contract=ContractView.of(shown), document=await document_view(request, session, stored)
    )


@router.post(
    "/sign",
    summary="Sign by link; it is then used up",
    response_model=ContractView,
    responses=problems.responses(*_REFUSALS, *SIGNING_REFUSALS),
    dependencies=[_NotTooManyGuesses],
)
async def sign_by_link(body: LinkSignRequest, once: Once) -> Response:
    wallet = await wallet_of(body)

    async def command(session: AsyncSession) -> ContractView:
        contract = await use_cases.sign_by_link(session, body.token, body.document_sha256, wallet)
        return await contract_view(session, contract)

    return await once(_owner(body), command)


@router.post(
    "/decline",
    summary="Decline by link; it is then used up",
    response_model=ContractView,
    responses=problems.responses(*_REFUSALS, IllegalMove, *idempotency.REFUSALS),
    dependencies=[_NotTooManyGuesses],
)
async def decline_by_link(body: LinkDeclineRequest, once: OnceIfKeyed) -> Response:
    async def command(session: AsyncSession) -> ContractView:
        contract = await use_cases.decline_by_link(session, body.token, body.reason)
        return await contract_view(session, contract)

    return await once(_owner(body), command)


def _owner(body: LinkSignRequest | LinkDeclineRequest) -> str:
    return f"link:{use_cases.hash_of(body.token)}"
