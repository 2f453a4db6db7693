"""Disputes over HTTP: open, argue, take back, decide, and the page that a moderator works on."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import book_repository, case_repository, evidence_repository, repository, schemas
from escrow.case_schemas import (
    CaseView,
    ChangeView,
    Decide,
    DisputeView,
    HoldView,
    OpenDispute,
    PaymentView,
    Say,
)
from escrow.errors import (
    AlreadyConfirmed,
    DisputeNotFound,
    DisputeOver,
    EscrowNotFound,
    SplitBegun,
    SplitDoesNotFit,
    TooManyFiles,
)
from escrow.lifecycle import DisputeStatus, EscrowAction
from escrow.models import Dispute
from escrow.routes.escrows import ATTACHING, COMMAND, Body, view
from escrow.routes.outside import InPerson
from escrow.use_cases import disputes, opening
from shared import problems
from shared.auth import Caller, Staff
from shared.errors import Forbidden
from shared.idempotency import Once
from shared.transactions import Transaction
from shared.web import Page, PageParams, decode_cursor, encode_cursor

_PLACE = "/v1/escrows/{escrow_id}/disputes"
_COMMAND = (*COMMAND, DisputeNotFound)

router = APIRouter(tags=["disputes"])


async def dispute_views(session: AsyncSession, found: Sequence[Dispute]) -> list[DisputeView]:
    ids = [dispute.id for dispute in found]
    said = await case_repository.evidence(session, ids)
    files = await evidence_repository.of_disputes(session, ids)
    return [DisputeView.of(dispute, said[dispute.id], files[dispute.id]) for dispute in found]


async def dispute_view(session: AsyncSession, dispute: Dispute) -> DisputeView:
    [shown] = await dispute_views(session, [dispute])
    return shown


@router.get(_PLACE, responses=problems.responses(EscrowNotFound))
async def list_disputes(escrow_id: UUID, session: Transaction, caller: Caller) -> list[DisputeView]:
    """Every dispute of this escrow, oldest first, with what both sides have said."""
    await opening.find(session, escrow_id, caller.user_id, is_staff=caller.is_staff)
    return await dispute_views(session, await case_repository.disputes(session, escrow_id))


@router.post(
    _PLACE,
    response_model=DisputeView,
    responses=problems.responses(*COMMAND, *ATTACHING, AlreadyConfirmed),
)
async def open_dispute(
    escrow_id: UUID, body: OpenDispute, caller: InPerson, once: Once
) -> Response:
    """A side does not agree with how the trade goes; the money stays."""

    async def command(session: AsyncSession) -> DisputeView:
        opened = await disputes.ask(
            session,
            escrow_id,
            caller.user_id,
            title=body.title,
            description=body.description,
            action=EscrowAction.DISPUTE,
            evidence_ids=body.evidence_ids,
        )
        return await dispute_view(session, opened)

    return await once(caller.user_id, command)


@router.post(
    "/v1/escrows/{escrow_id}/reject",
    response_model=DisputeView,
    responses=problems.responses(*COMMAND, *ATTACHING, AlreadyConfirmed),
)
async def reject(escrow_id: UUID, body: OpenDispute, caller: InPerson, once: Once) -> Response:
    """The buyer refuses what was delivered, which opens a dispute."""

    async def command(session: AsyncSession) -> DisputeView:
        opened = await disputes.ask(
            session,
            escrow_id,
            caller.user_id,
            title=body.title,
            description=body.description,
            action=EscrowAction.REJECT,
            evidence_ids=body.evidence_ids,
        )
        return await dispute_view(session, opened)

    return await once(caller.user_id, command)


@router.post(
    f"{_PLACE}/{{dispute_id}}/evidence",
    response_model=DisputeView,
    responses=problems.responses(*_COMMAND, *ATTACHING, DisputeOver, TooManyFiles),
)
async def add_evidence(
    escrow_id: UUID,
    dispute_id: UUID,
    body: Say,
    caller: InPerson,
    once: Once,
) -> Response:
    """A side says something for the moderator and the other side to read."""

    async def command(session: AsyncSession) -> DisputeView:
        dispute = await disputes.add_evidence(
            session,
            escrow_id,
            dispute_id,
            caller.user_id,
            is_staff=caller.is_staff,
            statement=body.statement,
            evidence_ids=body.evidence_ids,
        )
        return await dispute_view(session, dispute)

    return await once(caller.user_id, command)


@router.post(
    f"{_PLACE}/{{dispute_id}}/withdraw",
    response_model=DisputeView,
    responses=problems.responses(*_COMMAND, DisputeOver),
)
async def withdraw(
    escrow_id: UUID,
    dispute_id: UUID,
    caller: InPerson,
    once: Once,
    _body: Body = None,
) -> Response:
    """A side takes the dispute back; when both have, the trade goes on where it was."""

    async def command(session: AsyncSession) -> DisputeView:
        dispute = await disputes.withdraw(
            session, escrow_id, dispute_id, caller.user_id, is_staff=caller.is_staff
        )
        return await dispute_view(session, dispute)

    return await once(caller.user_id, command)


@router.post(
    f"{_PLACE}/{{dispute_id}}/take",
    response_model=DisputeView,
    responses=problems.responses(*_COMMAND),
)
async def take(
    escrow_id: UUID,
    dispute_id: UUID,
    caller: InPerson,
    once: Once,
    _body: Body = None,
) -> Response:
    """A moderator begins to look at it."""

    async def command(session: AsyncSession) -> DisputeView:
        dispute = await disputes.take(
            session, escrow_id, dispute_id, caller.user_id, is_staff=caller.is_staff
        )
        return await dispute_view(session, dispute)

    return await once(caller.user_id, command)


@router.post(
    f"{_PLACE}/{{dispute_id}}/resolve",
    response_model=DisputeView,
    responses=problems.responses(*_COMMAND, AlreadyConfirmed, SplitBegun, SplitDoesNotFit),
)
async def resolve(
    escrow_id: UUID,
    dispute_id: UUID,
    body: Decide,
    caller: InPerson,
    once: Once,
) -> Response:
    """A moderator decides; RESOLVED when the money has moved."""

    async def command(session: AsyncSession) -> DisputeView:
        dispute = await disputes.resolve(
            session,
            escrow_id,
            dispute_id,
            caller.user_id,
            is_staff=caller.is_staff,
            resolution=body.resolution,
            reason=body.reason,
            to_buyer=body.to_buyer,
        )
        return await dispute_view(session, dispute)

    return await once(caller.user_id, command)


@router.get("/v1/escrow/disputes", responses=problems.responses(Forbidden))
async def list_every_dispute(
    session: Transaction,
    _staff: Staff,
    page: PageParams,
    status: Annotated[list[DisputeStatus] | None, Query()] = None,
) -> Page[DisputeView]:
    """For staff: disputes of every trade, oldest first; those still to be decided if not said."""
    after = decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    found = await case_repository.disputes_by(
        session, status or case_repository.ACTIVE, after=after, limit=page.limit + 1
    )
    shown = found[: page.limit]
    return Page(
        items=await dispute_views(session, shown),
        next_cursor=encode_cursor(shown[-1].id) if len(found) > page.limit else None,
    )


@router.get("/v1/escrows/{escrow_id}/case", responses=problems.responses(EscrowNotFound, Forbidden))
async def read_case(escrow_id: UUID, session: Transaction, _staff: Staff) -> CaseView:
    """For staff: contract, deliveries, disputes, payments, ledger and history in one answer."""
    escrow = await repository.escrow(session, escrow_id)
    return CaseView(
        escrow=await view(session, escrow),
        deal=escrow.deal,
        sealed_document=escrow.sealed_document,
        disputes=await dispute_views(session, await case_repository.disputes(session, escrow_id)),
        payments=[
            PaymentView.model_validate(intent)
            for intent in await case_repository.intents(session, escrow_id)
        ],
        holds=[
            HoldView.model_validate(hold)
            for hold in await case_repository.holds(session, escrow_id)
        ],
        ledger=schemas.LedgerView.of(await book_repository.ledger(session, escrow_id)),
        history=[
            ChangeView.model_validate(change)
            for change in await case_repository.history(session, escrow_id)
        ],
    )
