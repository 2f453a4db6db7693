"""From the handover of the game to money that has reached the seller, or the buyer again."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import book_repository, case_repository, part_repository, postings, repository
from escrow.book_repository import post
from escrow.errors import AlreadyConfirmed, ProviderDisagrees
from escrow.lifecycle import (
    DISPUTE,
    INTENT,
    DeliveryStatus,
    DisputeAction,
    EscrowAction,
    EscrowStatus,
    IntentAction,
    IntentKind,
    IntentState,
)
from escrow.milestone_models import Part
from escrow.models import MANY_ATTEMPTS, Escrow, Intent, JobKind
from escrow.postings import Cause
from escrow.rails import Refund, Transfer
from escrow.use_cases import evidence, intents, moves, outcomes
from shared import clock, deadlines, jobs
from shared.events.escrow import EscrowDelivered

DISPUTE_ALERT = "dispute_alert"
"""The kind of deadline at which an undecided dispute is brought to staff's attention."""
NOT_PAYABLE = frozenset({"insufficient_capabilities_for_transfer"})
"""Refusals of a transfer that end by themselves when the seller completes the account."""
_REFUND_FAILED = frozenset({"failed", "canceled"})
_REFUNDED_BY = {
    EscrowStatus.FUNDS_HELD: EscrowAction.REFUND,
    EscrowStatus.DELIVERED: EscrowAction.REFUND_UNPAID,
    EscrowStatus.DISPUTED: EscrowAction.AWARD_BUYER,
}


async def deliver(
    session: AsyncSession,
    escrow_id: UUID,
    seller_id: UUID,
    *,
    title: str,
    description: str,
    position: int | None = None,
    evidence_ids: Sequence[UUID] = (),
) -> Escrow:
    """The seller says that the game, or a milestone, has been handed over.

    Raises:
        EvidenceNotFound, EvidenceNotReady, EvidenceAttached: see `evidence.attach`.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    part = await moves.lock_part_for(session, escrow_id, position, EscrowAction.DELIVER, seller_id)
    escrow = part.escrow
    delivery_id, now = await repository.add_delivery(session, part, title, description)
    files = await evidence.attach(session, escrow, seller_id, evidence_ids, delivery_id=delivery_id)
    part.delivered_at = now
    await moves.await_answer(session, part, now)
    await moves.move(session, part, EscrowAction.DELIVER)
    if part is escrow:
        await moves.tell(
            session, EscrowDelivered, escrow, delivered_by=seller_id, evidence_count=files
        )
    return escrow


async def confirm(
    session: AsyncSession, escrow_id: UUID, buyer_id: UUID, *, position: int | None = None
) -> Escrow:
    """The buyer has the game, or what a milestone is about: the payout begins, or waits until the
    seller can be paid.

    Raises:
        AlreadyConfirmed: and the payout still waits.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    part = await moves.lock_part_for(session, escrow_id, position, EscrowAction.RELEASE, buyer_id)
    if await waits_for_account(session, part):
        raise AlreadyConfirmed(part.status.value)
    part.confirmed_at = await clock.now(session)
    await mark_deliveries(session, part, DeliveryStatus.DELIVERED, DeliveryStatus.CONFIRMED)
    await begin_release(session, part)
    await moves.note(session, part, "escrow.confirmed", settling=part.settling)
    return part.escrow


async def mark_deliveries(
    session: AsyncSession, part: Part, from_: DeliveryStatus, to: DeliveryStatus
) -> None:
    """What the buyer, or silence, has said of what was delivered."""
    for delivery in await repository.deliveries(session, part.escrow_id, part.milestone_id):
        if delivery.status is from_:
            delivery.status = to
    await session.flush()


def is_waiting(part: Part) -> bool:
    """The payout is due, by the buyer's word or a decision, and has not begun."""
    is_due = part.confirmed_at is not None or part.payout_due_at is not None
    is_open = part.status in {EscrowStatus.DELIVERED, EscrowStatus.DISPUTED}
    return is_open and is_due and part.settling is None


async def release_if_payable(
    session: AsyncSession, escrow_id: UUID, milestone_id: UUID | None = None
) -> None:
    """Begin a payout that has waited for the seller's account."""
    await repository.lock(session, escrow_id)
    part = await part_repository.part(session, escrow_id, milestone_id)
    if is_waiting(part) and not await case_repository.is_held(session, escrow_id):
        await begin_release(session, part)
        await moves.note(session, part, "escrow.release_begun", settling=part.settling)


async def waits_for_account(session: AsyncSession, part: Part) -> bool:
    """The payout is due and nobody need ask for it again: it begins by itself."""
    if not is_waiting(part):
        return False
    tries = await intents.tries(session, IntentKind.RELEASE, part)
    return not tries or tries[-1].last_error in NOT_PAYABLE


async def begin_release(session: AsyncSession, part: Part) -> None:
    """Ask for the payout, or wait until the seller can be paid."""
    escrow = part.escrow
    account = await repository.payout_account(session, escrow.seller_id)
    can_be_paid = account is not None and account.is_payable
    is_stopped = any(await case_repository.stops(session, escrow.id, escrow.seller_id))
    if account is None or not can_be_paid or is_stopped:
        await await_payable(session, part)
        return
    assert account.account_id is not None
    await intents.release(session, part, account.account_id, outcomes.shares(part).to_seller)


async def await_payable(session: AsyncSession, part: Part) -> None:
    """Look again and again whether the seller can be paid."""
    payload = {"escrow_id": str(part.escrow_id), "seller_id": str(part.escrow.seller_id)}
    if part.milestone_id is not None:
        payload["milestone_id"] = str(part.milestone_id)
    await jobs.enqueue(
        session,
        JobKind.AWAIT_PAYABLE,
        await await_payable_key(session, part),
        payload,
        max_attempts=MANY_ATTEMPTS,
    )


async def await_payable_key(session: AsyncSession, part: Part) -> str:
    """The job that waits for the account, after so many tries."""
    tries = await intents.tries(session, IntentKind.RELEASE, part)
    return f"await_payable:{part.id}:{len(tries)}"


async def refund(
    session: AsyncSession,
    escrow_id: UUID,
    user_id: UUID,
    *,
    is_staff: bool,
    reason: str,
    position: int | None = None,
) -> Escrow:
    """The seller or staff give the held money back before anything was delivered.

    Raises:
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    part = await moves.lock_part_for(
        session, escrow_id, position, EscrowAction.REFUND, user_id, is_staff=is_staff
    )
    await begin_refund(session, part, reason)
    return part.escrow


async def begin_refund(session: AsyncSession, part: Part, reason: str) -> None:
    """Ask for the money to go back to the buyer."""
    part.reason = reason
    await intents.refund(session, part)
    await moves.note(session, part, "escrow.refund_begun", settling=part.settling)


async def observe_transfer(session: AsyncSession, seen: Transfer, intent_id: UUID) -> None:
    """The seller's money is with the seller: the escrow, or the milestone, is released.

    Raises:
        ProviderDisagrees: the transfer is not what was asked for.
    """
    escrow, intent = await intents.lock_both(session, intent_id)
    await intents.adopt(session, escrow, intent, seen.id)
    if intent.state is IntentState.SETTLED:
        return
    asked = intent.params
    names = ("amount", "currency", "destination", "source_transaction", "transfer_group")
    if seen.is_reversed or any(getattr(seen, name) != asked[name] for name in names):
        raise ProviderDisagrees(f"Transfer {seen.id} is not what intent {intent.id} asked for.")
    await _settle(session, intent, "paid")
    part = await part_repository.part(session, escrow.id, intent.milestone_id)
    due = outcomes.shares(part)
    await post(
        session,
        escrow,
        Cause.RELEASED,
        postings.released(due.to_seller + due.fee, due.fee),
        currency=escrow.currency.value,
        reference=seen.id,
    )
    await _resolve_dispute(session, part)
    is_awarded = part.status is EscrowStatus.DISPUTED
    action = EscrowAction.AWARD_SELLER if is_awarded else EscrowAction.RELEASE
    await moves.move(session, part, action, paid=seen.amount, fee=due.fee)
    await outcomes.conclude(session, part)


async def observe_refund(session: AsyncSession, seen: Refund, intent_id: UUID) -> None:
    """The money is with the buyer again: held money ends the escrow, late money does not.

    Raises:
        ProviderDisagrees: the refund is not what was asked for.
    """
    escrow, intent = await intents.lock_both(session, intent_id)
    await intents.adopt(session, escrow, intent, seen.id)
    if intent.state is not IntentState.ACCEPTED:
        return
    asked = (intent.params["amount"], await _currency_of(session, intent))
    is_same = seen.payment_intent == intent.params["payment_intent"]
    if not is_same or (seen.amount, seen.currency.upper()) != asked:
        raise ProviderDisagrees(f"Refund {seen.id} is not what intent {intent.id} asked for.")
    if seen.status in _REFUND_FAILED:
        intent.provider_status = seen.status
        await intents.no_effect(session, intent.id, IntentAction.FAIL, f"refund_{seen.status}")
    elif seen.status == "succeeded":
        await _settle(session, intent, seen.status)
        if intent.kind is IntentKind.RETURN:
            await _return(session, escrow, seen)
        else:
            part = await part_repository.part(session, escrow.id, intent.milestone_id)
            await _end(session, part, seen)


async def _currency_of(session: AsyncSession, intent: Intent) -> str | None:
    """The currency in which the money that goes back had come, not always the agreed one."""
    set_aside = await book_repository.set_aside(session, intent.params["payment_intent"])
    return intent.currency if set_aside is None else set_aside[1]


async def _return(session: AsyncSession, escrow: Escrow, seen: Refund) -> None:
    await post(
        session,
        escrow,
        Cause.RETURNED,
        postings.returned(seen.amount),
        currency=seen.currency.upper(),
        reference=seen.id,
    )
    await moves.note(session, escrow, "escrow.payment_returned", refund=seen.id, amount=seen.amount)


async def _end(session: AsyncSession, part: Part, seen: Refund) -> None:
    await post(
        session,
        part.escrow,
        Cause.REFUNDED,
        postings.refunded(seen.amount),
        currency=part.escrow.currency.value,
        reference=seen.id,
    )
    if part.to_buyer is not None:
        await _pay_the_rest(session, part, seen)
        return
    await _resolve_dispute(session, part)
    await moves.move(session, part, _REFUNDED_BY[part.status], reason=part.reason)
    await outcomes.conclude(session, part)


async def _pay_the_rest(session: AsyncSession, part: Part, seen: Refund) -> None:
    """The buyer has a split's first leg: the seller's follows."""
    part.settling = None
    part.payout_due_at = await clock.now(session)
    await begin_release(session, part)
    await moves.note(session, part, "escrow.split_refunded", refund=seen.id, amount=seen.amount)


async def _resolve_dispute(session: AsyncSession, part: Part) -> None:
    """What a moderator decided has come about."""
    dispute = await case_repository.active_dispute(session, part.escrow_id, part.milestone_id)
    if dispute is not None:
        now = await clock.now(session)
        dispute.status = DISPUTE.after(dispute.status, DisputeAction.RESOLVE)
        dispute.resolved_at = now
        await deadlines.clear(session, part.id, DISPUTE_ALERT)


async def _settle(session: AsyncSession, intent: Intent, provider_status: str) -> None:
    intent.state = INTENT.after(intent.state, IntentAction.SETTLE)
    intent.provider_status = provider_status
    intent.settled_at = await clock.now(session)
    await session.flush()
