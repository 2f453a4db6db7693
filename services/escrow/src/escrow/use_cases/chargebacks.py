"""A payment that the bank wants back freezes its trade, and is posted once it is lost."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import book_repository, case_repository, part_repository, postings, repository
from escrow.book_repository import post
from escrow.lifecycle import DISPUTE, ESCROW, DisputeAction, EscrowAction, EscrowStatus, HoldKind
from escrow.models import Escrow, Hold
from escrow.postings import Cause, Entry
from escrow.rails import Chargeback
from escrow.use_cases import moves, reversals
from escrow.use_cases.outcomes import outcome
from escrow.use_cases.settling import DISPUTE_ALERT
from shared import clock, deadlines, telemetry
from shared.events.escrow import EscrowRefunded
from shared.ids import new_id

CHARGEBACK = "CHARGEBACK"

_LOST = (Cause.CHARGED_BACK, Cause.CHARGEBACK_LOSS)

log = telemetry.get_logger()


async def observe(session: AsyncSession, seen: Chargeback) -> None:
    """The trade stands still from the first word of a chargeback until it is won."""
    escrow = await _lock(session, seen)
    if escrow is None:
        log.error("chargeback.of_no_trade", dispute=seen.id)
        return
    await _post_fees(session, escrow, seen)
    hold = await _hold(session, escrow, seen)
    if hold is None and not seen.is_won:
        hold = Hold(
            id=new_id(), escrow_id=escrow.id, kind=HoldKind.CHARGEBACK, reason=_reason(seen)
        )
        session.add(hold)
        await moves.note(session, escrow, "escrow.held", hold=str(hold.id), kind=hold.kind.value)
        log.error("chargeback.opened", escrow_id=str(escrow.id), dispute=seen.id)
    elif hold is not None and hold.lifted_at is None and seen.is_won:
        await _lift(session, escrow, hold, seen)
    await session.flush()


async def lose(session: AsyncSession, seen: Chargeback) -> bool:
    """Post a chargeback that is lost, once; False while the trade's money is under way.

    Held money has gone back to the buyer, and nothing is asked of Stripe. Money that had left
    already, all of it or for some milestones, is the platform's loss, as far as the seller does
    not give it back. What fits neither comes out of suspense, as far as any lies there, and is a
    loss beyond that; its trade stays as it is, for staff. That they have let the trade go on
    meanwhile does not keep the bank's money.
    """
    escrow = await _lock(session, seen)
    hold = None if escrow is None else await _hold(session, escrow, seen)
    if escrow is None or hold is None or await book_repository.posted(session, seen.id, _LOST):
        return True
    parts = (escrow, *await part_repository.parts(session, escrow))
    if any(part.settling is not None for part in parts) or await _is_unsettled(session, seen):
        return False
    if not await _fits(session, escrow, seen):
        await _bear(session, escrow, seen)
        return True
    is_ended = escrow.status in ESCROW.terminal()
    held = 0 if is_ended else await case_repository.held(session, escrow.id)
    lost = seen.amount - held
    await _post(session, escrow, seen, Cause.CHARGED_BACK, postings.charged_back, held)
    await _post(session, escrow, seen, Cause.CHARGEBACK_LOSS, postings.chargeback_loss, lost)
    if hold.lifted_at is None:
        await _lift(session, escrow, hold, seen)
    await reversals.begin(session, escrow, lost)
    if is_ended:
        await moves.note(session, escrow, "escrow.chargeback_lost", amount=seen.amount)
        await session.flush()
    else:
        await _end(session, escrow, seen)
    log.error("chargeback.lost", escrow_id=str(escrow.id), dispute=seen.id, is_paid_out=is_ended)
    return True


async def _is_unsettled(session: AsyncSession, seen: Chargeback) -> bool:
    """Whether the payment is still to be posted, or is just being sent back."""
    payment = await case_repository.payment(session, seen.payment_intent or "")
    assert payment is not None
    returns = await repository.returns(session, payment.id)
    return payment.received is None or any(not one.state.is_over for one in returns)


async def _bear(session: AsyncSession, escrow: Escrow, seen: Chargeback) -> None:
    """The bank has kept money that is neither held nor paid out: no side of the trade loses it."""
    lying = await book_repository.in_suspense(session, escrow.id, seen.currency.upper())
    taken = min(lying, seen.amount)
    await _post(session, escrow, seen, Cause.CHARGED_BACK, postings.returned, taken)
    lost = seen.amount - taken
    await _post(session, escrow, seen, Cause.CHARGEBACK_LOSS, postings.chargeback_loss, lost)
    await moves.note(session, escrow, "escrow.chargeback_misfit", amount=seen.amount, loss=lost)
    await session.flush()
    log.error("chargeback.does_not_fit", escrow_id=str(escrow.id), dispute=seen.id)


async def _post(
    session: AsyncSession,
    escrow: Escrow,
    seen: Chargeback,
    cause: Cause,
    movement: Callable[[int], tuple[Entry, ...]],
    amount: int,
) -> None:
    if amount:
        await post(
            session,
            escrow,
            cause,
            movement(amount),
            currency=seen.currency.upper(),
            reference=seen.id,
        )


async def _post_fees(session: AsyncSession, escrow: Escrow, seen: Chargeback) -> None:
    """What Stripe keeps for the chargeback, won or lost."""
    for movement in seen.movements:
        cause = Cause.PROVIDER_FEE
        if movement.fee and not await book_repository.posted(session, movement.id, [cause]):
            await post(
                session,
                escrow,
                cause,
                postings.provider_fee(movement.fee),
                currency=movement.currency.upper(),
                reference=movement.id,
            )


async def _end(session: AsyncSession, escrow: Escrow, seen: Chargeback) -> None:
    for part in await part_repository.parts(session, escrow):
        dispute = await case_repository.active_dispute(session, escrow.id, part.milestone_id)
        if dispute is not None:
            now = await clock.now(session)
            dispute.status = DISPUTE.after(dispute.status, DisputeAction.LAPSE)
            dispute.resolved_at = now
            await deadlines.clear(session, part.id, DISPUTE_ALERT)
    escrow.reason = CHARGEBACK
    total, _ = await outcome(session, escrow)
    await moves.move(session, escrow, EscrowAction.CHARGE_BACK, reason=escrow.reason)
    await moves.tell(
        session,
        EscrowRefunded,
        escrow,
        paid_to_seller=total.to_seller,
        refunded_to_buyer=escrow.amount - total.to_seller - total.fee,
        fee=total.fee,
        references=[seen.id],
        reason=escrow.reason,
    )


async def _fits(session: AsyncSession, escrow: Escrow, seen: Chargeback) -> bool:
    """Whether it is about the payment that funded the trade and, until the end, about all of it
    that the buyer has not been given back.
    """
    paid = await repository.stripe_escrow(session, escrow.id)
    if paid is None or escrow.funded_at is None or escrow.status is EscrowStatus.CANCELLED:
        return False
    if (seen.payment_intent, seen.currency.upper()) != (
        paid.payment_intent_id,
        escrow.currency.value,
    ):
        return False
    if escrow.status in ESCROW.terminal():
        return 0 < seen.amount <= escrow.amount
    total, _ = await outcome(session, escrow)
    return seen.amount == escrow.amount - total.to_buyer


async def _lock(session: AsyncSession, seen: Chargeback) -> Escrow | None:
    """The locked escrow that was paid with it."""
    payment = await case_repository.payment(session, seen.payment_intent or "")
    if payment is None or payment.escrow_id is None:
        return None
    escrow = await repository.lock(session, payment.escrow_id)
    telemetry.bind_trade(escrow.root_offer_id)
    return escrow


async def _hold(session: AsyncSession, escrow: Escrow, seen: Chargeback) -> Hold | None:
    wanted = (HoldKind.CHARGEBACK, _reason(seen))
    placed = await case_repository.holds(session, escrow.id)
    return next((hold for hold in placed if (hold.kind, hold.reason) == wanted), None)


def _reason(seen: Chargeback) -> str:
    return f"Chargeback {seen.id}"


async def _lift(session: AsyncSession, escrow: Escrow, hold: Hold, seen: Chargeback) -> None:
    hold.lifted_at, hold.lifted_reason = await clock.now(session), seen.status
    await moves.note(session, escrow, "escrow.hold_lifted", hold=str(hold.id), reason=seen.status)
