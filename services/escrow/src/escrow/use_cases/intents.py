"""The life of an intent: written and frozen, asked under one key, adopted, failed, given up.

What the end of an intent means for its escrow is decided by `observe` (the provider has done it)
and by `no_effect` (it has certainly not).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import part_repository, repository
from escrow.errors import ProviderDisagrees
from escrow.lifecycle import INTENT, IntentAction, IntentKind, IntentState, Settling
from escrow.milestone_models import Part
from escrow.models import MANY_ATTEMPTS, Escrow, Intent, JobKind, StripeEscrow
from escrow.rails import ObjectKind
from escrow.use_cases import moves
from shared import clock, jobs, telemetry
from shared.ids import new_id

POST_WITHIN = timedelta(hours=23)
"""Stripe may forget a key after 24 hours; later the object is only looked for."""
CLEAN_LISTINGS_NEEDED = 2

OBJECTS = {
    IntentKind.FUND: ObjectKind.PAYMENT,
    IntentKind.RELEASE: ObjectKind.TRANSFER,
    IntentKind.REFUND: ObjectKind.REFUND,
    IntentKind.RETURN: ObjectKind.REFUND,
    IntentKind.REVERSE: ObjectKind.REVERSAL,
}

log = telemetry.get_logger()


async def fund(session: AsyncSession, escrow: Escrow) -> Intent:
    """Ask for the payment of an escrow; a try after a failed one has the next number."""
    number = len(await repository.intents(session, IntentKind.FUND, escrow_id=escrow.id)) + 1
    intent_id = new_id()
    return await _write(
        session,
        escrow,
        Intent(
            id=intent_id,
            kind=IntentKind.FUND,
            business_key=f"fund:{escrow.id}:{number}",
            amount=escrow.amount,
            currency=escrow.currency.value,
            params={
                "amount": escrow.amount,
                "currency": escrow.currency.value.lower(),
                "allowed_payment_method_types": ["card", "link"],
                "payment_method_options": {"card": {"request_three_d_secure": "any"}},
                "transfer_group": str(escrow.id),
                "metadata": _metadata(escrow, intent_id),
            },
        ),
    )


async def release(session: AsyncSession, part: Part, account_id: str, amount: int) -> Intent:
    """Ask for the payout of so many cents to the seller's account."""
    escrow = part.escrow
    paid, source = await _held(session, escrow)
    await _stay_within(session, source, amount)
    number = len(await tries(session, IntentKind.RELEASE, part)) + 1
    intent_id = new_id()
    part.settling = Settling.RELEASE if part.to_buyer is None else Settling.SPLIT
    return await _write(
        session,
        escrow,
        Intent(
            id=intent_id,
            kind=IntentKind.RELEASE,
            milestone_id=part.milestone_id,
            business_key=f"release:{part.key}:{number}",
            source_id=source.id,
            amount=amount,
            currency=escrow.currency.value,
            params={
                "amount": amount,
                "currency": escrow.currency.value.lower(),
                "destination": account_id,
                "source_transaction": paid.charge_id,
                "transfer_group": str(escrow.id),
                "metadata": _metadata(escrow, intent_id),
            },
        ),
    )


async def refund(session: AsyncSession, part: Part) -> Intent:
    """Ask that the held amount goes back to the buyer, or the buyer's part of a split."""
    escrow = part.escrow
    amount = part.amount if part.to_buyer is None else part.to_buyer
    _, source = await _held(session, escrow)
    await _stay_within(session, source, amount)
    number = len(await tries(session, IntentKind.REFUND, part)) + 1
    part.settling = Settling.REFUND if part.to_buyer is None else Settling.SPLIT
    intent = _back(escrow, source, IntentKind.REFUND, f"refund:{part.key}:{number}", amount)
    intent.milestone_id = part.milestone_id
    return await _write(session, escrow, intent)


async def tries(session: AsyncSession, kind: IntentKind, part: Part) -> Sequence[Intent]:
    """What was asked for so far to settle it, oldest first."""
    return await repository.intents(
        session, kind, escrow_id=part.escrow_id, milestone_id=part.milestone_id
    )


async def give_back(session: AsyncSession, escrow: Escrow, source: Intent, amount: int) -> Intent:
    """Ask that a payment for which nothing is open goes back to whoever paid it."""
    await _stay_within(session, source, amount)
    number = len(await repository.returns(session, source.id)) + 1
    return await _write(
        session,
        escrow,
        _back(escrow, source, IntentKind.RETURN, f"return:{source.id}:{number}", amount),
    )


async def reverse(session: AsyncSession, escrow: Escrow, payout: Intent, amount: int) -> Intent:
    """Ask that so many cents of a payout come back from the seller."""
    intent_id = new_id()
    return await _write(
        session,
        escrow,
        Intent(
            id=intent_id,
            kind=IntentKind.REVERSE,
            business_key=f"reverse:{payout.id}:1",
            amount=amount,
            currency=payout.currency,
            params={
                "transfer": payout.object_id,
                "amount": amount,
                "metadata": _metadata(escrow, intent_id),
            },
        ),
    )


def _back(escrow: Escrow, source: Intent, kind: IntentKind, key: str, amount: int) -> Intent:
    intent_id = new_id()
    return Intent(
        id=intent_id,
        kind=kind,
        business_key=key,
        source_id=source.id,
        amount=amount,
        currency=source.currency,
        params={
            "amount": amount,
            "payment_intent": source.object_id,
            "metadata": _metadata(escrow, intent_id),
        },
    )


def _metadata(escrow: Escrow, intent_id: UUID) -> dict[str, str]:
    return {"intent_id": str(intent_id), "escrow_id": str(escrow.id)}


async def _held(session: AsyncSession, escrow: Escrow) -> tuple[StripeEscrow, Intent]:
    """The payment that funded the escrow."""
    paid = await repository.stripe_escrow(session, escrow.id)
    assert paid is not None
    for source in await repository.intents(session, IntentKind.FUND, escrow_id=escrow.id):
        if source.object_id == paid.payment_intent_id:
            return paid, source
    raise AssertionError(f"escrow {escrow.id} was funded by nothing")


async def _stay_within(session: AsyncSession, source: Intent, amount: int) -> None:
    """What goes out of a payment, or may yet, never exceeds what came in.

    Stripe itself would transfer from a charge that has been refunded.
    """
    committed = await repository.committed_from(session, source.id)
    if source.received is None or committed + amount > source.received:
        raise AssertionError(f"{amount} more than was received by intent {source.id}")


async def _write(session: AsyncSession, escrow: Escrow, intent: Intent) -> Intent:
    intent.escrow_id = escrow.id
    session.add(intent)
    await session.flush()
    await jobs.enqueue(
        session,
        JobKind.CALL,
        f"call:{intent.id}",
        {"intent_id": str(intent.id)},
        max_attempts=MANY_ATTEMPTS,
    )
    return intent


@dataclass(frozen=True)
class Call:
    """What may be done about an intent now."""

    intent: Intent
    is_open: bool
    """Its object is still to be made or found."""
    may_post: bool
    was_in_doubt: bool


async def begin_call(session: AsyncSession, intent_id: UUID, environment: str) -> Call:
    """Fix the key and the time of the first call, and say whether the call may be made."""
    intent = await repository.lock_intent(session, intent_id)
    is_open = INTENT.allows(intent.state, IntentAction.CALL)
    was_in_doubt = intent.state is IntentState.IN_DOUBT
    now = await clock.now(session)
    if is_open and intent.first_called_at is None:
        intent.first_called_at = now
        intent.idem_key = f"v1:{environment}:{intent.kind.value}:{intent.id}"
    may_post = intent.first_called_at is not None and now <= intent.first_called_at + POST_WITHIN
    if is_open:
        intent.state = INTENT.after(intent.state, IntentAction.CALL)
    await session.flush()
    return Call(intent, is_open, may_post, was_in_doubt)


async def doubt(session: AsyncSession, intent_id: UUID, error: str) -> None:
    """The provider's answer is lost."""
    intent = await repository.lock_intent(session, intent_id)
    if INTENT.allows(intent.state, IntentAction.DOUBT):
        intent.state = INTENT.after(intent.state, IntentAction.DOUBT)
        intent.last_error = error
        log.warning("intent.in_doubt", intent_id=str(intent_id), reason=error)


async def count_clean_listing(session: AsyncSession, intent_id: UUID) -> bool:
    """Long after the last call the provider's lists do not show it; True when that is enough."""
    intent = await repository.lock_intent(session, intent_id)
    intent.clean_listings += 1
    return intent.clean_listings >= CLEAN_LISTINGS_NEEDED


async def accept(session: AsyncSession, intent_id: UUID, object_id: str) -> None:
    """The provider has made the object; from now on it is watched until its money has moved."""
    escrow, intent = await lock_both(session, intent_id)
    await adopt(session, escrow, intent, object_id)
    await jobs.enqueue(
        session,
        JobKind.WATCH,
        f"watch:{object_id}",
        {
            "kind": OBJECTS[intent.kind].value,
            "object_id": object_id,
            "transfer": intent.params.get("transfer"),
        },
        max_attempts=MANY_ATTEMPTS,
    )


async def lock_both(session: AsyncSession, intent_id: UUID) -> tuple[Escrow, Intent]:
    """An intent and its escrow, locked in the order that all commands keep."""
    known = await repository.intent(session, intent_id)
    assert known is not None
    assert known.escrow_id is not None
    escrow = await repository.lock(session, known.escrow_id)
    telemetry.bind_trade(escrow.root_offer_id)
    return escrow, await repository.lock_intent(session, intent_id)


async def adopt(session: AsyncSession, escrow: Escrow, intent: Intent, object_id: str) -> None:
    """Know the provider's object by its id; harmless to repeat.

    Raises:
        ProviderDisagrees: the intent has another object already.
    """
    if intent.object_id is not None:
        if intent.object_id != object_id:
            raise ProviderDisagrees(f"Intent {intent.id} has {intent.object_id} and {object_id}.")
        return
    intent.state = INTENT.after(intent.state, IntentAction.ACCEPT)
    intent.object_id = object_id
    intent.last_error = None
    paid = await repository.stripe_escrow(session, escrow.id)
    match intent.kind:
        case IntentKind.FUND if paid is None:
            session.add(StripeEscrow(escrow_id=escrow.id, payment_intent_id=object_id))
        case IntentKind.FUND if escrow.funded_at is None and paid is not None:
            paid.payment_intent_id = object_id
        case IntentKind.RELEASE if paid is not None and intent.milestone_id is None:
            paid.transfer_id = object_id
        case IntentKind.REFUND if paid is not None and intent.milestone_id is None:
            paid.refund_id = object_id
    await session.flush()


async def no_effect(
    session: AsyncSession, intent_id: UUID, action: IntentAction, code: str, **details: Any
) -> Intent:
    """The intent certainly moved no money: its escrow may move again, by a new intent."""
    escrow, intent = await lock_both(session, intent_id)
    if not INTENT.allows(intent.state, action):
        return intent
    intent.state = INTENT.after(intent.state, action)
    intent.last_error = code
    is_settling = intent.kind in {IntentKind.RELEASE, IntentKind.REFUND}
    part = await part_repository.part(session, escrow.id, intent.milestone_id)
    if is_settling:
        part.settling = None
    await moves.note(session, part, f"escrow.{intent.kind.value}_failed", code=code, **details)
    log.error("intent.no_effect", intent_id=str(intent.id), kind=intent.kind.value, code=code)
    await session.flush()
    return intent
