"""Money that is held for long: staff are told, and in the end may give it back."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, part_repository, repository
from escrow.errors import SellerStillWaited
from escrow.lifecycle import EscrowAction, EscrowStatus, Resolution, Role
from escrow.milestone_models import Part
from escrow.models import Escrow
from escrow.use_cases import intents, moves, settling
from shared import clock, deadlines, telemetry

HELD_LONG = "held_long"
"""The kind of deadline at which money that is still held is brought to staff's attention."""
ALARM_AFTER = timedelta(days=60)
LAST_ALARM_AFTER = timedelta(days=80)
"""Stripe lets nobody hold money much beyond 90 days."""
UNPAYABLE = "SELLER_NOT_PAYABLE"
_HELD = frozenset({EscrowStatus.FUNDS_HELD, EscrowStatus.DELIVERED, EscrowStatus.DISPUTED})

log = telemetry.get_logger()


async def watch(session: AsyncSession, escrow: Escrow) -> None:
    """From now on the money is held."""
    now = await clock.now(session)
    await deadlines.set(session, escrow.id, HELD_LONG, now + ALARM_AFTER)


async def alarm(session: AsyncSession, escrow: Escrow) -> None:
    """It is held after 60 days, and again after 80: staff are told, nothing moves."""
    if escrow.status not in _HELD or escrow.funded_at is None:
        return
    telemetry.bind_trade(escrow.root_offer_id)
    last = escrow.funded_at + LAST_ALARM_AFTER
    is_last = await clock.now(session) >= last
    days = (LAST_ALARM_AFTER if is_last else ALARM_AFTER).days
    await moves.note(session, escrow, "escrow.held_long", days=days)
    log.error("escrow.held_long", escrow_id=str(escrow.id), days=days)
    if not is_last:
        await deadlines.set(session, escrow.id, HELD_LONG, last)


async def refund(
    session: AsyncSession,
    escrow_id: UUID,
    user_id: UUID,
    *,
    is_staff: bool,
    reason: str,
    position: int | None = None,
) -> Escrow:
    """Give held money back: before a delivery by the seller or staff; after it by staff alone,
    when the seller could not be paid for 80 days.

    Raises:
        SellerStillWaited: something was delivered, and it is too early or the seller is payable.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await repository.lock(session, escrow_id)
    is_no_side = moves.role_of(escrow, user_id, is_staff=is_staff) is Role.STAFF
    part: Part = escrow
    if position is not None:
        part = await part_repository.milestone_at(session, escrow_id, position)
    is_due = part.status is EscrowStatus.DELIVERED or settling.is_waiting(part)
    if not is_no_side or not is_due:
        return await settling.refund(
            session, escrow_id, user_id, is_staff=is_staff, reason=reason, position=position
        )
    is_disputed = part.status is EscrowStatus.DISPUTED
    action = EscrowAction.AWARD_BUYER if is_disputed else EscrowAction.REFUND_UNPAID
    await moves.check(session, part, action, user_id, Role.STAFF)
    telemetry.bind_trade(escrow.root_offer_id)
    account = await repository.payout_account(session, escrow.seller_id)
    assert escrow.funded_at is not None
    opens_at = escrow.funded_at + LAST_ALARM_AFTER
    is_payable = account is not None and account.is_payable
    if is_payable or part.to_buyer is not None or await clock.now(session) < opens_at:
        raise SellerStillWaited(part.status.value, opens_at)
    dispute = await case_repository.active_dispute(session, escrow.id, part.milestone_id)
    if dispute is not None:
        dispute.resolution, dispute.reason = Resolution.REFUND, reason
    part.reason = UNPAYABLE
    await intents.refund(session, part)
    await moves.note(session, part, "escrow.refund_begun", settling=part.settling, why=reason)
    return escrow
