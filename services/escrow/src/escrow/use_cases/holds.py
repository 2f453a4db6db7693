"""Holds: while one is in place only staff move the escrow, and its deadlines wait."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, repository
from escrow.errors import HoldLifted, NotYourMove
from escrow.lifecycle import ESCROW, HoldKind, Role
from escrow.milestone_models import Part
from escrow.models import Escrow, Hold
from escrow.use_cases import moves
from shared import clock, deadlines, telemetry
from shared.errors import Conflict
from shared.ids import new_id

LOOK_AGAIN_AFTER = timedelta(hours=1)
"""How long a deadline that falls into a hold is put off, again and again."""


async def place(
    session: AsyncSession,
    escrow_id: UUID,
    user_id: UUID,
    *,
    is_staff: bool,
    kind: HoldKind,
    reason: str,
) -> Hold:
    """Staff who are no side of the trade stop it. Money that is under way arrives all the same.

    Raises:
        EscrowNotFound, NotYourMove: as they say.
        Conflict: the escrow has ended.
    """
    escrow = await _lock_for_staff(session, escrow_id, user_id, is_staff=is_staff)
    if escrow.status in ESCROW.terminal():
        raise Conflict("The escrow has ended; there is nothing to hold.", state=escrow.status.value)
    hold = Hold(id=new_id(), escrow_id=escrow.id, kind=kind, reason=reason, placed_by=user_id)
    session.add(hold)
    await moves.note(
        session, escrow, "escrow.held", hold=str(hold.id), kind=kind.value, reason=reason
    )
    await session.flush()
    return hold


async def lift(
    session: AsyncSession,
    escrow_id: UUID,
    hold_id: UUID,
    user_id: UUID,
    *,
    is_staff: bool,
    reason: str,
) -> Hold:
    """Staff let the trade go on.

    Raises:
        EscrowNotFound, HoldNotFound, NotYourMove: as they say.
        HoldLifted: it has been lifted already.
    """
    escrow = await _lock_for_staff(session, escrow_id, user_id, is_staff=is_staff)
    hold = await case_repository.hold(session, escrow_id, hold_id)
    if hold.lifted_at is not None:
        raise HoldLifted(escrow.status.value)
    now = await clock.now(session)
    hold.lifted_at, hold.lifted_by, hold.lifted_reason = now, user_id, reason
    await moves.note(session, escrow, "escrow.hold_lifted", hold=str(hold.id), reason=reason)
    await session.flush()
    return hold


async def put_off(session: AsyncSession, part: Part, kind: str) -> bool:
    """Whether a deadline that is due must wait because the escrow is held."""
    if not await case_repository.is_held(session, part.escrow_id):
        return False
    await deadlines.set(session, part.id, kind, await clock.now(session) + LOOK_AGAIN_AFTER)
    return True


async def _lock_for_staff(
    session: AsyncSession, escrow_id: UUID, user_id: UUID, *, is_staff: bool
) -> Escrow:
    escrow = await repository.lock(session, escrow_id)
    telemetry.bind_trade(escrow.root_offer_id)
    if moves.role_of(escrow, user_id, is_staff=is_staff) is not Role.STAFF:
        raise NotYourMove("hold a trade", (Role.STAFF.value,))
    return escrow
