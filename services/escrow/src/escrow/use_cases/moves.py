"""What every move of an escrow has in common: who asks, whether money is on its way, the record."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, part_repository, repository
from escrow.errors import (
    AccountFrozen,
    EscrowNotFound,
    IsDivided,
    MoneyIsMoving,
    NotYourMove,
    OnHold,
)
from escrow.lifecycle import MAY_ASK, OF_THE_WHOLE, EscrowAction, EscrowStatus, Ownership, Role
from escrow.milestone_models import MilestoneEscrow, Part
from escrow.models import AssetVerification, Escrow
from shared import audit, clock, deadlines, outbox, telemetry
from shared.events.escrow import (
    EscrowCancelled,
    EscrowCreated,
    EscrowDelivered,
    EscrowDisputed,
    EscrowFunded,
    EscrowMilestoneChanged,
    EscrowRefunded,
    EscrowReleased,
)

Fact = (
    EscrowCreated
    | EscrowFunded
    | EscrowMilestoneChanged
    | EscrowDelivered
    | EscrowDisputed
    | EscrowReleased
    | EscrowRefunded
    | EscrowCancelled
)

RELEASE_BY = "release_by"
"""The kind of deadline at which silence after a delivery decides."""


def role_of(escrow: Escrow, user_id: UUID, *, is_staff: bool) -> Role:
    """What the caller is to this escrow.

    Raises:
        EscrowNotFound: nothing at all.
    """
    if user_id == escrow.buyer_id:
        return Role.BUYER
    if user_id == escrow.seller_id:
        return Role.SELLER
    if is_staff:
        return Role.STAFF
    raise EscrowNotFound(escrow.id)


async def lock_for(
    session: AsyncSession,
    escrow_id: UUID,
    action: EscrowAction,
    user_id: UUID,
    *,
    is_staff: bool = False,
) -> Escrow:
    """The locked escrow, when this caller may start this move of the whole of it now.

    Raises:
        EscrowNotFound: none, or the caller has no part in it.
        NotYourMove: it is for the other side.
        AccountFrozen: the caller's account is frozen.
        OnHold: staff have stopped the trade, and the caller is not staff.
        IsDivided: its milestones are moved one by one.
        MoneyIsMoving: another move's money is on its way.
        IllegalMove: the state forbids it.
    """
    whole = await lock_part_for(session, escrow_id, None, action, user_id, is_staff=is_staff)
    return whole.escrow


async def lock_part_for(
    session: AsyncSession,
    escrow_id: UUID,
    position: int | None,
    action: EscrowAction,
    user_id: UUID,
    *,
    is_staff: bool = False,
) -> Part:
    """The same for one milestone of the locked escrow; for the whole where there is no position.

    Raises:
        MilestoneNotFound: there is none at this position.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await repository.lock(session, escrow_id)
    role = role_of(escrow, user_id, is_staff=is_staff)
    telemetry.bind_trade(escrow.root_offer_id)
    part: Part = escrow
    if position is not None:
        part = await part_repository.milestone_at(session, escrow_id, position)
    await check(session, part, action, user_id, role)
    return part


async def check(
    session: AsyncSession, part: Part, action: EscrowAction, user_id: UUID, role: Role
) -> None:
    """Raises: NotYourMove, AccountFrozen, OnHold, IsDivided, MoneyIsMoving, IllegalMove: see
    `lock_for`.
    """
    if role not in MAY_ASK[action]:
        raise NotYourMove(action.value, MAY_ASK[action])
    if role is not Role.STAFF:
        is_frozen, is_held = await case_repository.stops(session, part.escrow_id, user_id)
        if is_frozen:
            raise AccountFrozen
        if is_held:
            raise OnHold(part.status.value)
    if isinstance(part, Escrow) and part.is_divided and action not in OF_THE_WHOLE:
        raise IsDivided(part.id, part.status.value)
    if part.settling is not None:
        raise MoneyIsMoving(part.settling.value, part.status.value)
    part.lifecycle.after(part.status, action)


async def is_frozen(session: AsyncSession, user_id: UUID) -> bool:
    user = await repository.user(session, user_id)
    return user is not None and user.is_frozen


async def ownership(session: AsyncSession, escrow: Escrow) -> Ownership:
    """What the newest check since the opening has found."""
    check = await repository.verification(session, escrow.seller_id, escrow.game_id)
    return ownership_by(check, escrow)


def ownership_by(check: AssetVerification | None, escrow: Escrow) -> Ownership:
    if check is None or check.checked_at <= escrow.created_at:
        return Ownership.UNCONFIRMED
    return Ownership.CONFIRMED if check.is_owner else Ownership.LOST


async def move(session: AsyncSession, part: Part, action: EscrowAction, **details: Any) -> None:
    """Take what is locked to the next state, end what was settling, write the audit row.

    What happens to a divided trade as one happens to each milestone that has not ended; a
    milestone's change is told here, an escrow's by the caller.

    Raises:
        IllegalMove: the state forbids it.
    """
    before = part.status
    part.status = part.lifecycle.after(before, action)
    part.settling = None
    if part.status in part.lifecycle.terminal():
        part.ended_at = await clock.now(session)
    if before is EscrowStatus.DELIVERED:
        await deadlines.clear(session, part.id, RELEASE_BY)
    if isinstance(part, Escrow) and part.is_divided and action in OF_THE_WHOLE:
        for milestone in await part_repository.parts(session, part):
            if milestone.ended_at is None:
                milestone.deliver_by = milestone.deliver_by or part.deliver_by
                milestone.reason = part.reason
                await move(session, milestone, action)
    await note(session, part, f"escrow.{part.status.value.lower()}", from_=before.value, **details)
    # The change is checked by the database before the fact is recorded.
    await session.flush()
    if isinstance(part, MilestoneEscrow):
        await tell_of_milestone(session, part)


async def note(session: AsyncSession, part: Part, what: str, **details: Any) -> None:
    """Count the change and write its audit row."""
    part.escrow.version += 1
    if isinstance(part, MilestoneEscrow):
        part.version += 1
    await audit.record(session, what, part.subject, part.id, to=part.status.value, **details)


def period(escrow: Escrow, name: str) -> timedelta:
    """A period of the trade terms, as stamped at acceptance."""
    return timedelta(seconds=escrow.deal["terms"][name])


async def await_delivery(session: AsyncSession, part: Part) -> None:
    """From now the seller has the agreed time to deliver."""
    now = await clock.now(session)
    part.deliver_by = now + period(part.escrow, "deliver_within_seconds")


async def await_answer(session: AsyncSession, part: Part, since: datetime) -> None:
    """From then the buyer has the agreed time to confirm or reject."""
    part.release_by = since + period(part.escrow, "auto_release_seconds")
    await deadlines.set(session, part.id, RELEASE_BY, part.release_by)


async def tell(session: AsyncSession, fact: type[Fact], escrow: Escrow, **fields: Any) -> None:
    """Record the fact with what all facts of an escrow carry."""
    await outbox.record(
        session,
        fact(
            version=escrow.version,
            escrow_id=escrow.id,
            contract_id=escrow.contract_id,
            offer_id=escrow.offer_id,
            root_offer_id=escrow.root_offer_id,
            listing_id=escrow.listing_id,
            game_id=escrow.game_id,
            seller_id=escrow.seller_id,
            buyer_id=escrow.buyer_id,
            amount=escrow.amount,
            currency=escrow.currency,
            status=escrow.status.value,
            **fields,
        ),
    )


async def tell_of_milestone(session: AsyncSession, milestone: MilestoneEscrow) -> None:
    """Say what a milestone has become."""
    await tell(
        session,
        EscrowMilestoneChanged,
        milestone.escrow,
        position=milestone.position,
        title=milestone.title,
        milestone_amount=milestone.amount,
        milestone_fee=milestone.fee,
        milestone_status=milestone.status.value,
        to_buyer=milestone.to_buyer,
        reason=milestone.reason,
    )
