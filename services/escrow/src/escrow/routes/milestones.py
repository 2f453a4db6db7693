"""Milestones over HTTP: propose, accept, then deliver, confirm, refund and dispute one by one."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import part_repository, schemas
from escrow.case_schemas import DisputeView, OpenDispute
from escrow.errors import (
    AlreadyConfirmed,
    EscrowNotFound,
    MilestoneNotFound,
    PaymentMade,
    PlanAgreed,
    PlanChanged,
    PlanDoesNotFit,
    PlanNotFound,
    ReclaimNotOpen,
    SellerStillWaited,
)
from escrow.lifecycle import EscrowAction
from escrow.routes.disputes import dispute_view
from escrow.routes.escrows import ATTACHING, COMMAND, Body, view
from escrow.routes.outside import InPerson
from escrow.use_cases import disputes, held_long, milestones, opening, settling, silence
from shared import problems
from shared.auth import Caller
from shared.idempotency import Once
from shared.transactions import Transaction

_PLACE = "/v1/escrows/{escrow_id}/milestones"
_ONE = f"{_PLACE}/{{position}}"
_COMMAND = (*COMMAND, MilestoneNotFound)
Position = Annotated[int, Path(ge=1, le=schemas.MOST_MILESTONES)]

router = APIRouter(tags=["milestones"])


async def _view(session: AsyncSession, escrow_id: UUID) -> schemas.MilestonesView:
    divided = await part_repository.milestones(session, [escrow_id])
    return schemas.MilestonesView.of(
        await part_repository.milestone_plan(session, escrow_id), divided[escrow_id]
    )


@router.get(_PLACE, responses=problems.responses(EscrowNotFound))
async def list_milestones(
    escrow_id: UUID, session: Transaction, caller: Caller
) -> schemas.MilestonesView:
    """What was proposed last, and the milestones when both sides have agreed to it."""
    await opening.find(session, escrow_id, caller.user_id, is_staff=caller.is_staff)
    return await _view(session, escrow_id)


@router.post(
    _PLACE,
    response_model=schemas.MilestonesView,
    responses=problems.responses(*COMMAND, PlanDoesNotFit, PlanAgreed, PaymentMade),
)
async def propose(
    escrow_id: UUID,
    body: schemas.ProposeMilestones,
    caller: InPerson,
    once: Once,
) -> Response:
    """A side would divide the trade; the other may accept, or propose something else."""

    async def command(session: AsyncSession) -> schemas.MilestonesView:
        proposed = [(one.title, one.amount) for one in body.milestones]
        await milestones.propose(session, escrow_id, caller.user_id, proposed)
        return await _view(session, escrow_id)

    return await once(caller.user_id, command)


@router.post(
    f"{_PLACE}/accept",
    response_model=schemas.MilestonesView,
    responses=problems.responses(*COMMAND, PlanNotFound, PlanChanged, PlanAgreed, PaymentMade),
)
async def accept(
    escrow_id: UUID,
    body: schemas.AcceptMilestones,
    caller: InPerson,
    once: Once,
) -> Response:
    """The other side agrees to exactly the proposal it has read."""

    async def command(session: AsyncSession) -> schemas.MilestonesView:
        await milestones.accept(session, escrow_id, caller.user_id, body.version)
        return await _view(session, escrow_id)

    return await once(caller.user_id, command)


@router.post(
    f"{_ONE}/deliver",
    response_model=schemas.EscrowView,
    responses=problems.responses(*_COMMAND, *ATTACHING),
)
async def deliver(
    escrow_id: UUID,
    position: Position,
    body: schemas.Deliver,
    caller: InPerson,
    once: Once,
) -> Response:
    """The seller has done what this milestone is about."""

    async def command(session: AsyncSession) -> schemas.EscrowView:
        escrow = await settling.deliver(
            session,
            escrow_id,
            caller.user_id,
            title=body.title,
            description=body.description,
            position=position,
            evidence_ids=body.evidence_ids,
        )
        return await view(session, escrow)

    return await once(caller.user_id, command)


@router.post(
    f"{_ONE}/confirm",
    response_model=schemas.EscrowView,
    responses=problems.responses(*_COMMAND, AlreadyConfirmed),
)
async def confirm(
    escrow_id: UUID,
    position: Position,
    caller: InPerson,
    once: Once,
    _body: Body = None,
) -> Response:
    """The buyer is content; the seller is paid for this milestone."""

    async def command(session: AsyncSession) -> schemas.EscrowView:
        escrow = await settling.confirm(session, escrow_id, caller.user_id, position=position)
        return await view(session, escrow)

    return await once(caller.user_id, command)


@router.post(
    f"{_ONE}/refund",
    response_model=schemas.EscrowView,
    responses=problems.responses(*_COMMAND, SellerStillWaited),
)
async def refund(
    escrow_id: UUID,
    position: Position,
    body: schemas.Refund,
    caller: InPerson,
    once: Once,
) -> Response:
    """The seller or staff give this milestone's money back before it was delivered; staff also
    when the seller could not be paid for 80 days.
    """

    async def command(session: AsyncSession) -> schemas.EscrowView:
        escrow = await held_long.refund(
            session,
            escrow_id,
            caller.user_id,
            is_staff=caller.is_staff,
            reason=body.reason,
            position=position,
        )
        return await view(session, escrow)

    return await once(caller.user_id, command)


@router.post(
    f"{_ONE}/cancel",
    response_model=schemas.EscrowView,
    responses=problems.responses(*_COMMAND, ReclaimNotOpen),
)
async def cancel(
    escrow_id: UUID,
    position: Position,
    caller: InPerson,
    once: Once,
    _body: Body = None,
) -> Response:
    """The buyer takes this milestone's money back when it was not delivered in time."""

    async def command(session: AsyncSession) -> schemas.EscrowView:
        escrow = await silence.reclaim(session, escrow_id, caller.user_id, position=position)
        return await view(session, escrow)

    return await once(caller.user_id, command)


@router.post(
    f"{_ONE}/disputes",
    response_model=DisputeView,
    responses=problems.responses(*_COMMAND, *ATTACHING, AlreadyConfirmed),
)
async def open_dispute(
    escrow_id: UUID,
    position: Position,
    body: OpenDispute,
    caller: InPerson,
    once: Once,
) -> Response:
    """A side does not agree about this milestone; the others go on."""

    async def command(session: AsyncSession) -> DisputeView:
        return await _dispute(
            session, escrow_id, position, body, caller.user_id, EscrowAction.DISPUTE
        )

    return await once(caller.user_id, command)


@router.post(
    f"{_ONE}/reject",
    response_model=DisputeView,
    responses=problems.responses(*_COMMAND, *ATTACHING, AlreadyConfirmed),
)
async def reject(
    escrow_id: UUID,
    position: Position,
    body: OpenDispute,
    caller: InPerson,
    once: Once,
) -> Response:
    """The buyer refuses what was delivered for this milestone, which opens a dispute."""

    async def command(session: AsyncSession) -> DisputeView:
        return await _dispute(
            session, escrow_id, position, body, caller.user_id, EscrowAction.REJECT
        )

    return await once(caller.user_id, command)


async def _dispute(
    session: AsyncSession,
    escrow_id: UUID,
    position: int,
    body: OpenDispute,
    user_id: UUID,
    action: EscrowAction,
) -> DisputeView:
    opened = await disputes.ask(
        session,
        escrow_id,
        user_id,
        title=body.title,
        description=body.description,
        action=action,
        position=position,
        evidence_ids=body.evidence_ids,
    )
    return await dispute_view(session, opened)
