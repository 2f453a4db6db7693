"""Money that fits nothing: staff find what it was for, or send it back. Each payment once."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import book_repository, case_repository, postings, repository
from escrow.book_repository import post
from escrow.errors import (
    AttributionDoesNotFit,
    MoneyIsMoving,
    NotSuspended,
    OnHold,
    SuspenseSettled,
)
from escrow.lifecycle import ESCROW, EscrowAction, IntentKind
from escrow.models import Escrow, Intent
from escrow.postings import Cause
from escrow.use_cases import intents, moves, paying
from shared import telemetry


async def attribute(session: AsyncSession, payment_id: UUID, *, reason: str) -> Escrow:
    """The money was the agreed payment: from now on it is held.

    Raises:
        NotSuspended: this is no payment that was set aside.
        SuspenseSettled: it has been attributed, is on its way back, or the bank has taken it.
        AttributionDoesNotFit: it is not the agreed amount in the agreed currency.
        OnHold, MoneyIsMoving, IllegalMove: the escrow takes no money now.
    """
    escrow, payment = await _lock(session, payment_id)
    ESCROW.after(escrow.status, EscrowAction.FUND)
    if escrow.settling is not None:
        raise MoneyIsMoving(escrow.settling.value, escrow.status.value)
    if await case_repository.is_held(session, escrow.id):
        raise OnHold(escrow.status.value)
    agreed = (escrow.amount, escrow.currency.value)
    assert payment.object_id is not None
    paid = await repository.stripe_escrow(session, escrow.id)
    counts = paid is not None and paid.payment_intent_id == payment.object_id
    if not counts or await book_repository.set_aside(session, payment.object_id) != agreed:
        raise AttributionDoesNotFit(escrow.status.value, *agreed)
    await post(
        session,
        escrow,
        Cause.ATTRIBUTED,
        postings.attributed(escrow.amount),
        currency=escrow.currency.value,
        reference=payment.object_id,
    )
    await paying.begin_holding(session, escrow, payment.object_id, attributed=reason)
    return escrow


async def give_back(session: AsyncSession, payment_id: UUID, *, reason: str) -> Escrow:
    """The money goes back to whoever paid it.

    Raises:
        NotSuspended, SuspenseSettled: see `attribute`.
    """
    escrow, payment = await _lock(session, payment_id)
    assert payment.received is not None
    await intents.give_back(session, escrow, payment, payment.received)
    await moves.note(
        session, escrow, "escrow.return_begun", payment=payment.object_id, reason=reason
    )
    await session.flush()
    return escrow


async def _lock(session: AsyncSession, payment_id: UUID) -> tuple[Escrow, Intent]:
    """The payment and its escrow, when its money lies in suspense and nothing has begun."""
    known = await repository.intent(session, payment_id)
    if known is None or known.kind is not IntentKind.FUND or known.escrow_id is None:
        raise NotSuspended(payment_id)
    escrow, payment = await intents.lock_both(session, payment_id)
    telemetry.bind_trade(escrow.root_offer_id)
    reference = payment.object_id or ""
    aside = await book_repository.set_aside(session, reference)
    if aside is None:
        raise NotSuspended(payment_id)
    if await book_repository.posted(session, reference, [Cause.ATTRIBUTED]) is not None:
        raise SuspenseSettled(escrow.status.value, "attributed")
    tries = await repository.returns(session, payment.id)
    if any(not one.state.has_no_effect for one in tries):
        raise SuspenseSettled(escrow.status.value, "sent back")
    amount, currency = aside
    if await book_repository.in_suspense(session, escrow.id, currency) < amount:
        raise SuspenseSettled(escrow.status.value, "taken by the bank")
    return escrow, payment
