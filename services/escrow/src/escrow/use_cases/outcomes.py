"""What each side gets of a part and of the whole, and the end that the last part brings."""

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import part_repository, postings
from escrow.lifecycle import EscrowAction, EscrowStatus, IntentKind
from escrow.milestone_models import MilestoneEscrow, Part
from escrow.models import Escrow
from escrow.postings import Shares
from escrow.use_cases import moves
from shared.events.escrow import EscrowRefunded, EscrowReleased


def shares(part: Part) -> Shares:
    """Who gets what of the held amount, as agreed or as a moderator has split it."""
    if part.to_buyer is None:
        return Shares(0, postings.payout(part.amount, part.fee), part.fee)
    return split(part, part.to_buyer)


def split(part: Part, to_buyer: int) -> Shares:
    """Who would get what if so many cents went back.

    Raises:
        ValueError: a side would get nothing.
    """
    rate = part.escrow.deal["terms"]["fee_basis_points"]
    return postings.split(part.amount, to_buyer, rate, part.fee)


async def conclude(session: AsyncSession, part: Part) -> None:
    """Tell that the escrow has ended; the last milestone to end ends it."""
    escrow = part.escrow
    if any(one.ended_at is None for one in await part_repository.parts(session, escrow)):
        return
    total, references = await outcome(session, escrow)
    if isinstance(part, MilestoneEscrow):
        escrow.reason = None if total.to_seller else part.reason
        action = EscrowAction.FINISH if total.to_seller else EscrowAction.REFUND
        await moves.move(session, escrow, action)
    is_released = escrow.status is EscrowStatus.RELEASED
    await moves.tell(
        session,
        EscrowReleased if is_released else EscrowRefunded,
        escrow,
        paid_to_seller=total.to_seller,
        refunded_to_buyer=total.to_buyer,
        fee=total.fee,
        references=references,
        reason=None if is_released else escrow.reason,
    )


async def outcome(session: AsyncSession, escrow: Escrow) -> tuple[Shares, list[str]]:
    """What all parts of an escrow have come to so far, and the provider's objects of it."""
    moved = {IntentKind.RELEASE: 0, IntentKind.REFUND: 0}
    references = []
    for intent in await part_repository.settled(session, escrow.id):
        moved[intent.kind] += intent.amount or 0
        references.append(intent.object_id or "")
    paid = [
        part
        for part in await part_repository.parts(session, escrow)
        if part.status is EscrowStatus.RELEASED
    ]
    fee = sum(shares(part).fee for part in paid)
    return Shares(moved[IntentKind.REFUND], moved[IntentKind.RELEASE], fee), references
