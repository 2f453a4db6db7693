"""Holds over HTTP: for staff only."""

from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from escrow.case_schemas import HoldView, Lift, PlaceHold
from escrow.errors import EscrowNotFound, HoldLifted, HoldNotFound, NotYourMove, OwnSessionNeeded
from escrow.routes.outside import InPerson
from escrow.use_cases import holds
from shared import idempotency, problems
from shared.errors import Conflict
from shared.idempotency import Once

_COMMAND = (EscrowNotFound, NotYourMove, OwnSessionNeeded, *idempotency.REFUSALS)

router = APIRouter(tags=["holds"])


@router.post(
    "/v1/escrows/{escrow_id}/holds",
    response_model=HoldView,
    responses=problems.responses(*_COMMAND, Conflict),
)
async def place_hold(escrow_id: UUID, body: PlaceHold, caller: InPerson, once: Once) -> Response:
    """Staff stop a trade: until it is lifted only staff move it."""

    async def command(session: AsyncSession) -> HoldView:
        hold = await holds.place(
            session,
            escrow_id,
            caller.user_id,
            is_staff=caller.is_staff,
            kind=body.kind,
            reason=body.reason,
        )
        return HoldView.model_validate(hold)

    return await once(caller.user_id, command)


@router.post(
    "/v1/escrows/{escrow_id}/holds/{hold_id}/lift",
    response_model=HoldView,
    responses=problems.responses(*_COMMAND, HoldNotFound, HoldLifted),
)
async def lift_hold(
    escrow_id: UUID,
    hold_id: UUID,
    body: Lift,
    caller: InPerson,
    once: Once,
) -> Response:
    """Staff let a trade go on."""

    async def command(session: AsyncSession) -> HoldView:
        hold = await holds.lift(
            session,
            escrow_id,
            hold_id,
            caller.user_id,
            is_staff=caller.is_staff,
            reason=body.reason,
        )
        return HoldView.model_validate(hold)

    return await once(caller.user_id, command)
