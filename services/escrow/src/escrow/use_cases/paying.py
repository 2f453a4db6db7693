"""From the buyer's wish to pay to money that is held, set aside or on its way back."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import postings, repository
from escrow.book_repository import post
from escrow.errors import (
    CancelNotOpen,
    OwnershipLost,
    OwnershipUnconfirmed,
    PaymentInReview,
    PaymentOverdue,
    RailNotOpen,
)
from escrow.lifecycle import (
    ESCROW,
    INTENT,
    EscrowAction,
    EscrowStatus,
    IntentAction,
    IntentKind,
    IntentState,
    Ownership,
    Settling,
    is_newer,
)
from escrow.models import MANY_ATTEMPTS, Escrow, Intent, JobKind
from escrow.postings import Cause
from escrow.rails import Payment, ProviderFee
from escrow.use_cases import held_long, holds, intents, moves
from escrow.use_cases.opening import PAY_BY
from shared import clock, deadlines, jobs, telemetry
from shared.events.escrow import EscrowCancelled, EscrowFunded
from shared.money import Rail

UNPAID = "UNPAID"
OWNERSHIP_LOST = "OWNERSHIP_LOST"

log = telemetry.get_logger()


async def prepare_payment(
    session: AsyncSession, escrow_id: UUID, buyer_id: UUID
) -> tuple[Escrow, str | None]:
    """The escrow and the PaymentIntent with which the buyer may pay it now.

    The second is None while Stripe has not made it; after a definite failure a new one is asked
    for.

    Raises:
        RailNotOpen: the escrow is to be paid in USDC.
        OwnershipUnconfirmed, OwnershipLost: the check since the opening is missing, or failed.
        PaymentOverdue, PaymentInReview: as they say.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await moves.lock_for(session, escrow_id, EscrowAction.FUND, buyer_id)
    if escrow.rail is not Rail.STRIPE:
        raise RailNotOpen
    if await clock.now(session) >= escrow.pay_by:
        raise PaymentOverdue(escrow.status.value)
    match await moves.ownership(session, escrow):
        case Ownership.UNCONFIRMED:
            raise OwnershipUnconfirmed
        case Ownership.LOST:
            raise OwnershipLost
    *_, newest = await repository.intents(session, IntentKind.FUND, escrow_id=escrow.id)
    is_returned = any(
        back.state is IntentState.SETTLED for back in await repository.returns(session, newest.id)
    )
    if newest.state is IntentState.SETTLED and not is_returned:
        raise PaymentInReview(escrow.status.value)
    if newest.state.has_no_effect or is_returned:
        newest = await intents.fund(session, escrow)
        await moves.note(session, escrow, "escrow.payment_asked_anew", intent=str(newest.id))
    return escrow, newest.object_id


async def observe_payment(session: AsyncSession, seen: Payment, intent_id: UUID) -> None:
    """Take a payment to where Stripe says it is; never back, and each step once.

    Raises:
        ProviderDisagrees: it belongs to an intent that has another payment.
    """
    escrow, intent = await intents.lock_both(session, intent_id)
    await intents.adopt(session, escrow, intent, seen.id)
    if not is_newer(seen.status, intent.provider_status):
        return
    intent.provider_status = seen.status
    if seen.status == "succeeded":
        await _receive(session, escrow, intent, seen)
    elif seen.status == "canceled":
        intent.state = INTENT.after(intent.state, IntentAction.FAIL)
        intent.last_error = "canceled"
    await session.flush()


async def _receive(session: AsyncSession, escrow: Escrow, intent: Intent, seen: Payment) -> None:
    """Money has come in: hold it if it is what was agreed, else set it aside."""
    if intent.state is IntentState.FAILED:
        # Cancelled, as far as we knew: Stripe's word on money outranks that.
        intent.state = IntentState.ACCEPTED
    intent.state = INTENT.after(intent.state, IntentAction.SETTLE)
    intent.received = seen.received
    intent.settled_at = await clock.now(session)
    await session.flush()
    if seen.charge_id is not None:
        await jobs.enqueue(
            session,
            JobKind.PROVIDER_FEE,
            f"provider_fee:{seen.charge_id}",
            {"escrow_id": str(escrow.id), "charge_id": seen.charge_id},
            max_attempts=MANY_ATTEMPTS,
        )
    if not ESCROW.allows(escrow.status, EscrowAction.FUND):
        await _set_aside(session, escrow, seen, Cause.LATE)
        await intents.give_back(session, escrow, intent, seen.received)
    elif not _is_as_agreed(escrow, seen):
        await _set_aside(session, escrow, seen, Cause.MISFIT)
    else:
        await _hold(session, escrow, seen)


def _is_as_agreed(escrow: Escrow, seen: Payment) -> bool:
    agreed = (escrow.amount, escrow.amount, escrow.currency.value.lower(), str(escrow.id))
    return (seen.amount, seen.received, seen.currency, seen.transfer_group) == agreed


async def _set_aside(session: AsyncSession, escrow: Escrow, seen: Payment, cause: Cause) -> None:
    await post(
        session,
        escrow,
        cause,
        postings.set_aside(seen.received),
        currency=seen.currency.upper(),
        reference=seen.id,
    )
    await moves.note(
        session,
        escrow,
        f"escrow.payment_{cause.value}",
        payment=seen.id,
        amount=seen.received,
        currency=seen.currency,
    )
    paid = await repository.stripe_escrow(session, escrow.id)
    if escrow.funded_at is None and paid is not None and paid.payment_intent_id == seen.id:
        paid.charge_id = seen.charge_id
    log.error("escrow.payment_set_aside", escrow_id=str(escrow.id), cause=cause.value)


async def _hold(session: AsyncSession, escrow: Escrow, seen: Payment) -> None:
    paid = await repository.stripe_escrow(session, escrow.id)
    assert paid is not None
    paid.payment_intent_id = seen.id
    paid.charge_id = seen.charge_id
    await post(
        session,
        escrow,
        Cause.FUNDED,
        postings.funded(escrow.amount),
        currency=escrow.currency.value,
        reference=seen.id,
    )
    await begin_holding(session, escrow, seen.id)


async def begin_holding(
    session: AsyncSession, escrow: Escrow, payment_id: str, **details: str
) -> None:
    """The agreed payment is posted: the seller may deliver."""
    escrow.funded_at = await clock.now(session)
    escrow.reason = None
    await deadlines.clear(session, escrow.id, PAY_BY)
    await moves.await_delivery(session, escrow)
    await held_long.watch(session, escrow)
    await moves.move(session, escrow, EscrowAction.FUND, amount=escrow.amount, **details)
    await moves.tell(
        session,
        EscrowFunded,
        escrow,
        rail=escrow.rail,
        rail_reference=payment_id,
        funded_at=escrow.funded_at,
    )


async def post_provider_fee(session: AsyncSession, escrow_id: UUID, fee: ProviderFee) -> None:
    """Post what the provider kept of a payment."""
    escrow = await repository.lock(session, escrow_id)
    if fee.amount:
        await post(
            session,
            escrow,
            Cause.PROVIDER_FEE,
            postings.provider_fee(fee.amount),
            currency=fee.currency.upper(),
            reference=fee.reference,
        )


async def expire_payment(session: AsyncSession, escrow: Escrow) -> None:
    """The time to pay is over: nothing more may be paid, then the escrow ends."""
    is_open = escrow.status is EscrowStatus.AWAIT_FUNDS and escrow.settling is None
    if is_open and not await holds.put_off(session, escrow, PAY_BY):
        telemetry.bind_trade(escrow.root_offer_id)
        await _begin_cancel(session, escrow, UNPAID)


async def cancel(session: AsyncSession, escrow_id: UUID, buyer_id: UUID) -> Escrow:
    """The buyer leaves before paying, because the seller has lost the game.

    Raises:
        CancelNotOpen: the seller has not.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await moves.lock_for(session, escrow_id, EscrowAction.CANCEL, buyer_id)
    if await moves.ownership(session, escrow) is not Ownership.LOST:
        raise CancelNotOpen(escrow.status.value)
    await _begin_cancel(session, escrow, OWNERSHIP_LOST)
    return escrow


async def _begin_cancel(session: AsyncSession, escrow: Escrow, reason: str) -> None:
    escrow.reason = reason
    if escrow.rail is not Rail.STRIPE:
        await _end(session, escrow)
        return
    escrow.settling = Settling.CANCEL
    await moves.note(session, escrow, "escrow.cancel_begun", reason=reason)
    await jobs.enqueue(
        session,
        JobKind.CANCEL,
        f"cancel:{escrow.id}",
        {"escrow_id": str(escrow.id)},
        max_attempts=MANY_ATTEMPTS,
    )


async def open_payment(session: AsyncSession, escrow_id: UUID) -> Intent | None:
    """The payment of an escrow that could still bring money; None when there is none."""
    tries = await repository.intents(session, IntentKind.FUND, escrow_id=escrow_id)
    return next((intent for intent in tries if not intent.state.is_over), None)


async def finish_cancel(session: AsyncSession, escrow_id: UUID) -> None:
    """End the escrow if it is still to be ended and no payment can come any more."""
    escrow = await repository.lock(session, escrow_id)
    telemetry.bind_trade(escrow.root_offer_id)
    if escrow.settling is Settling.CANCEL and await open_payment(session, escrow_id) is None:
        await _end(session, escrow)


async def _end(session: AsyncSession, escrow: Escrow) -> None:
    await deadlines.clear(session, escrow.id, PAY_BY)
    await moves.move(session, escrow, EscrowAction.CANCEL, reason=escrow.reason)
    await moves.tell(
        session,
        EscrowCancelled,
        escrow,
        paid_to_seller=0,
        refunded_to_buyer=0,
        fee=0,
        references=[],
        reason=escrow.reason,
    )
