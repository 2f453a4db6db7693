"""What every move of an escrow has in common: who asks, whether money is on its way, the record."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, repository
from escrow.errors import AccountFrozen, EscrowNotFound, MoneyIsMoving, NotYourMove, OnHold
from escrow.lifecycle import ESCROW, MAY_ASK, EscrowAction, EscrowStatus, Ownership, Role
from escrow.models import AssetVerification, Escrow
from shared import audit, clock, deadlines, outbox, telemetry
from shared.events.escrow import (
    EscrowCancelled,
    EscrowCreated,
    EscrowDelivered,
    EscrowDisputed,
    EscrowFunded,
    EscrowRefunded,
    EscrowReleased,
)

Fact = (
    EscrowCreated
    | EscrowFunded
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
    """The locked escrow, when this caller may start this move now.

    Raises:
        EscrowNotFound: none, or the caller has no part in it.
        NotYourMove: it is for the other side.
        AccountFrozen: the caller's account is frozen.
        OnHold: staff have stopped the trade, and the caller is not staff.
        MoneyIsMoving: another move's money is on its way.
        IllegalMove: the state forbids it.
    """
    escrow = await repository.lock(session, escrow_id)
    role = role_of(escrow, user_id, is_staff=is_staff)
    telemetry.bind_trade(escrow.root_offer_id)
    if role not in MAY_ASK[action]:
        raise NotYourMove(action.value, MAY_ASK[action])
    if role is not Role.STAFF and await is_frozen(session, user_id):
        raise AccountFrozen
    if role is not Role.STAFF and await case_repository.is_held(session, escrow_id):
        raise OnHold(escrow.status.value)
    if escrow.settling is not None:
        raise MoneyIsMoving(escrow.settling.value, escrow.status.value)
    ESCROW.after(escrow.status, action)
    return escrow


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


async def move(session: AsyncSession, escrow: Escrow, action: EscrowAction, **details: Any) -> None:
    """Take the locked escrow to the next state, end what was settling, write the audit row.

    Raises:
        IllegalMove: the state forbids it.
    """
    now = await clock.now(session)
    before = escrow.status
    escrow.status = ESCROW.after(before, action)
    escrow.settling = None
    if escrow.status in ESCROW.terminal():
        escrow.ended_at = now
    if before is EscrowStatus.DELIVERED:
        await deadlines.clear(session, escrow.id, RELEASE_BY)
    note(session, escrow, f"escrow.{escrow.status.value.lower()}", from_=before.value, **details)
    # The change is checked by the database before the fact is recorded.
    await session.flush()


def note(session: AsyncSession, escrow: Escrow, what: str, **details: Any) -> None:
    """Count the change and write its audit row."""
    escrow.version += 1
    audit.record(session, what, "escrow", escrow.id, to=escrow.status.value, **details)


def period(escrow: Escrow, name: str) -> timedelta:
    """A period of the trade terms, as stamped at acceptance."""
    return timedelta(seconds=escrow.deal["terms"][name])


async def await_delivery(session: AsyncSession, escrow: Escrow) -> None:
    """From now the seller has the agreed time to deliver."""
    now = await clock.now(session)
    escrow.deliver_by = now + period(escrow, "deliver_within_seconds")


async def await_answer(session: AsyncSession, escrow: Escrow) -> None:
    """From now the buyer has the agreed time to confirm or reject."""
    now = await clock.now(session)
    escrow.release_by = now + period(escrow, "auto_release_seconds")
    await deadlines.set(session, escrow.id, RELEASE_BY, escrow.release_by)


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
