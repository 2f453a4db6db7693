"""Payouts asked back from the seller, because the bank took the payment after the payout."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, postings
from escrow.book_repository import post
from escrow.errors import ProviderDisagrees
from escrow.lifecycle import INTENT, IntentAction, IntentKind, IntentState
from escrow.models import Escrow
from escrow.postings import Cause
from escrow.rails import Reversal
from escrow.use_cases import intents, moves
from shared import clock


async def begin(session: AsyncSession, escrow: Escrow, lost: int) -> None:
    """Ask each payout of the locked escrow back until the lost cents are covered; the fee, which
    never left, is not asked for. What the seller no longer has stays the platform's loss.
    """
    for payout in await case_repository.intents(session, escrow.id):
        if payout.kind is not IntentKind.RELEASE or payout.state is not IntentState.SETTLED:
            continue
        amount = min(lost, payout.amount or 0)
        if amount > 0:
            lost -= amount
            await intents.reverse(session, escrow, payout, amount)


async def observe(session: AsyncSession, seen: Reversal, intent_id: UUID) -> None:
    """The seller has given money back: the loss is so much less.

    Raises:
        ProviderDisagrees: the reversal is not what was asked for.
    """
    escrow, intent = await intents.lock_both(session, intent_id)
    await intents.adopt(session, escrow, intent, seen.id)
    if intent.state is not IntentState.ACCEPTED:
        return
    asked = (intent.params["amount"], intent.params["transfer"], (intent.currency or "").lower())
    if (seen.amount, seen.transfer, seen.currency) != asked:
        raise ProviderDisagrees(f"Reversal {seen.id} is not what intent {intent.id} asked for.")
    intent.state = INTENT.after(intent.state, IntentAction.SETTLE)
    intent.provider_status = "reversed"
    intent.settled_at = await clock.now(session)
    await post(
        session,
        escrow,
        Cause.REVERSED,
        postings.reversed_(seen.amount),
        currency=escrow.currency.value,
        reference=seen.id,
    )
    await moves.note(
        session, escrow, "escrow.payout_reversed", reversal=seen.id, amount=seen.amount
    )
    await session.flush()
