"""From the handover of the game to money that has reached the seller, or the buyer again."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, postings, repository
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
from escrow.models import MANY_ATTEMPTS, Delivery, Escrow, Intent, JobKind
from escrow.postings import Cause, Shares
from escrow.rails import Refund, Transfer
from escrow.use_cases import evidence, intents, moves
from escrow.use_cases.post import post
from shared import clock, deadlines, jobs
from shared.events.escrow import EscrowDelivered, EscrowRefunded, EscrowReleased

DISPUTE_ALERT = "dispute_alert"
"""The kind of deadline at which an undecided dispute is brought to staff's attention."""
NOT_PAYABLE = frozenset({"insufficient_capabilities_for_transfer"})
"""Refusals of a transfer that end by themselves when the seller completes the account."""
_REFUND_FAILED = frozenset({"failed", "canceled"})


async def deliver(
    session: AsyncSession,
    escrow_id: UUID,
    seller_id: UUID,
    *,
    title: str,
    description: str,
    evidence_ids: Sequence[UUID] = (),
) -> Escrow:
    """The seller says that the game has been handed over.

    Raises:
        EvidenceNotFound, EvidenceNotReady, EvidenceAttached: see `evidence.attach`.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await moves.lock_for(session, escrow_id, EscrowAction.DELIVER, seller_id)
    escrow.delivered_at = await clock.now(session)
    delivery = Delivery(
        escrow_id=escrow.id,
        offer_id=escrow.offer_id,
        contract_id=escrow.contract_id,
        title=title,
        description=description,
        status=DeliveryStatus.DELIVERED,
        delivered_at=escrow.delivered_at,
        observed_transfer=escrow.observed_transfer,
    )
    session.add(delivery)
    await session.flush()
    files = await evidence.attach(session, escrow, seller_id, evidence_ids, delivery_id=delivery.id)
    await moves.await_answer(session, escrow)
    await moves.move(session, escrow, EscrowAction.DELIVER)
    await moves.tell(session, EscrowDelivered, escrow, delivered_by=seller_id, evidence_count=files)
    return escrow


async def confirm(session: AsyncSession, escrow_id: UUID, buyer_id: UUID) -> Escrow:
    """The buyer has the game: the payout begins, or waits until the seller can be paid.

    Raises:
        AlreadyConfirmed: and the payout still waits.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await moves.lock_for(session, escrow_id, EscrowAction.RELEASE, buyer_id)
    if await waits_for_account(session, escrow):
        raise AlreadyConfirmed(escrow.status.value)
    escrow.confirmed_at = await clock.now(session)
    for delivery in await repository.deliveries(session, escrow.id):
        if delivery.status is DeliveryStatus.DELIVERED:
            delivery.status = DeliveryStatus.CONFIRMED
    await begin_release(session, escrow)
    moves.note(session, escrow, "escrow.confirmed", settling=escrow.settling)
    return escrow


def is_waiting(escrow: Escrow) -> bool:
    """The payout is due, by the buyer's word or a decision, and has not begun."""
    is_due = escrow.confirmed_at is not None or escrow.payout_due_at is not None
    is_open = escrow.status in {EscrowStatus.DELIVERED, EscrowStatus.DISPUTED}
    return is_open and is_due and escrow.settling is None


async def release_if_payable(session: AsyncSession, escrow_id: UUID) -> None:
    """Begin a payout that has waited for the seller's account."""
    escrow = await repository.lock(session, escrow_id)
    if is_waiting(escrow) and not await case_repository.is_held(session, escrow_id):
        await begin_release(session, escrow)
        moves.note(session, escrow, "escrow.release_begun", settling=escrow.settling)


async def waits_for_account(session: AsyncSession, escrow: Escrow) -> bool:
    """The payout is due and nobody need ask for it again: it begins by itself."""
    if not is_waiting(escrow):
        return False
    tries = await repository.intents(session, IntentKind.RELEASE, escrow_id=escrow.id)
    return not tries or tries[-1].last_error in NOT_PAYABLE


def shares(escrow: Escrow) -> Shares:
    """Who gets what of the held amount, as agreed or as a moderator has split it."""
    if escrow.to_buyer is None:
        return Shares(0, postings.payout(escrow.amount, escrow.fee), escrow.fee)
    rate = escrow.deal["terms"]["fee_basis_points"]
    return postings.split(escrow.amount, escrow.to_buyer, rate)


async def begin_release(session: AsyncSession, escrow: Escrow) -> None:
    """Ask for the payout, or wait until the seller can be paid."""
    account = await repository.payout_account(session, escrow.seller_id)
    can_be_paid = account is not None and account.is_payable
    is_stopped = await moves.is_frozen(session, escrow.seller_id) or await case_repository.is_held(
        session, escrow.id
    )
    if account is None or not can_be_paid or is_stopped:
        await await_payable(session, escrow)
        return
    assert account.account_id is not None
    await intents.release(session, escrow, account.account_id, shares(escrow).to_seller)


async def await_payable(session: AsyncSession, escrow: Escrow) -> None:
    """Look again and again whether the seller can be paid."""
    tries = await repository.intents(session, IntentKind.RELEASE, escrow_id=escrow.id)
    await jobs.enqueue(
        session,
        JobKind.AWAIT_PAYABLE,
        await_payable_key(escrow.id, len(tries)),
        {"escrow_id": str(escrow.id), "seller_id": str(escrow.seller_id)},
        max_attempts=MANY_ATTEMPTS,
    )


def await_payable_key(escrow_id: UUID, tries: int) -> str:
    return f"await_payable:{escrow_id}:{tries}"


async def refund(
    session: AsyncSession, escrow_id: UUID, user_id: UUID, *, is_staff: bool, reason: str
) -> Escrow:
    """The seller or staff give the held money back before anything was delivered.

    Raises:
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await moves.lock_for(
        session, escrow_id, EscrowAction.REFUND, user_id, is_staff=is_staff
    )
    escrow.reason = reason
    await intents.refund(session, escrow)
    moves.note(session, escrow, "escrow.refund_begun", settling=escrow.settling)
    return escrow


async def observe_transfer(session: AsyncSession, seen: Transfer, intent_id: UUID) -> None:
    """The seller's money is with the seller: the escrow is released.

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
    parts = shares(escrow)
    await post(
        session,
        escrow,
        Cause.RELEASED,
        postings.released(parts.to_seller + parts.fee, parts.fee),
        currency=escrow.currency.value,
        reference=seen.id,
    )
    await _resolve_dispute(session, escrow)
    is_awarded = escrow.status is EscrowStatus.DISPUTED
    action = EscrowAction.AWARD_SELLER if is_awarded else EscrowAction.RELEASE
    await moves.move(session, escrow, action, paid=seen.amount, fee=parts.fee)
    paid = await repository.stripe_escrow(session, escrow.id)
    assert paid is not None
    refund_ids = [paid.refund_id] if parts.to_buyer and paid.refund_id else []
    await moves.tell(
        session,
        EscrowReleased,
        escrow,
        paid_to_seller=seen.amount,
        refunded_to_buyer=parts.to_buyer,
        fee=parts.fee,
        references=[*refund_ids, seen.id],
    )


async def observe_refund(session: AsyncSession, seen: Refund, intent_id: UUID) -> None:
    """The money is with the buyer again: held money ends the escrow, late money does not.

    Raises:
        ProviderDisagrees: the refund is not what was asked for.
    """
    escrow, intent = await intents.lock_both(session, intent_id)
    await intents.adopt(session, escrow, intent, seen.id)
    if intent.state is not IntentState.ACCEPTED:
        return
    names = ("amount", "payment_intent")
    if any(getattr(seen, name) != intent.params[name] for name in names):
        raise ProviderDisagrees(f"Refund {seen.id} is not what intent {intent.id} asked for.")
    if seen.status in _REFUND_FAILED:
        intent.provider_status = seen.status
        await intents.no_effect(session, intent.id, IntentAction.FAIL, f"refund_{seen.status}")
    elif seen.status == "succeeded":
        await _settle(session, intent, seen.status)
        await (_return if intent.kind is IntentKind.RETURN else _end)(session, escrow, seen)


async def _return(session: AsyncSession, escrow: Escrow, seen: Refund) -> None:
    await post(
        session,
        escrow,
        Cause.RETURNED,
        postings.returned(seen.amount),
        currency=seen.currency.upper(),
        reference=seen.id,
    )
    moves.note(session, escrow, "escrow.payment_returned", refund=seen.id, amount=seen.amount)


async def _end(session: AsyncSession, escrow: Escrow, seen: Refund) -> None:
    await post(
        session,
        escrow,
        Cause.REFUNDED,
        postings.refunded(seen.amount),
        currency=escrow.currency.value,
        reference=seen.id,
    )
    if escrow.to_buyer is not None:
        await _pay_the_rest(session, escrow, seen)
        return
    await _resolve_dispute(session, escrow)
    is_awarded = escrow.status is EscrowStatus.DISPUTED
    action = EscrowAction.AWARD_BUYER if is_awarded else EscrowAction.REFUND
    await moves.move(session, escrow, action, reason=escrow.reason)
    await moves.tell(
        session,
        EscrowRefunded,
        escrow,
        paid_to_seller=0,
        refunded_to_buyer=seen.amount,
        fee=0,
        references=[seen.id],
        reason=escrow.reason,
    )


async def _pay_the_rest(session: AsyncSession, escrow: Escrow, seen: Refund) -> None:
    """The buyer has a split's first leg: the seller's follows."""
    escrow.settling = None
    escrow.payout_due_at = await clock.now(session)
    await begin_release(session, escrow)
    moves.note(session, escrow, "escrow.split_refunded", refund=seen.id, amount=seen.amount)


async def _resolve_dispute(session: AsyncSession, escrow: Escrow) -> None:
    """What a moderator decided has come about."""
    dispute = await case_repository.active_dispute(session, escrow.id)
    if dispute is not None:
        now = await clock.now(session)
        dispute.status = DISPUTE.after(dispute.status, DisputeAction.RESOLVE)
        dispute.resolved_at = now
        await deadlines.clear(session, escrow.id, DISPUTE_ALERT)


async def _settle(session: AsyncSession, intent: Intent, provider_status: str) -> None:
    intent.state = INTENT.after(intent.state, IntentAction.SETTLE)
    intent.provider_status = provider_status
    intent.settled_at = await clock.now(session)
    await session.flush()
