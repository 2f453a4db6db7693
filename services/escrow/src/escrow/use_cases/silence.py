"""What happens when a side does nothing: the payout, a dispute, or the buyer's money back."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import repository
from escrow.errors import ReclaimNotOpen
from escrow.lifecycle import DeliveryStatus, EscrowAction, EscrowStatus
from escrow.milestone_models import Part
from escrow.models import Escrow
from escrow.use_cases import disputes, holds, moves, paying, settling
from shared import clock, telemetry
from shared.events.identity import AssetTransferObserved

NOT_DELIVERED = "NOT_DELIVERED"
_TITLE = "No answer after the delivery"
_DESCRIPTION = (
    "The seller marked the game as delivered, the buyer has not answered in time, and the"
    " game was not seen with the buyer."
)


async def note_transfer(session: AsyncSession, event: AssetTransferObserved) -> None:
    """Keep that the game was seen with the buyer, and attach it to what was delivered."""
    escrow = await repository.lock(session, event.escrow_id)
    if escrow.observed_transfer is not None:
        return
    telemetry.bind_trade(escrow.root_offer_id)
    escrow.observed_transfer = {
        "creator_id": event.creator_id,
        "creator_type": event.creator_type,
        "observed_at": event.observed_at.isoformat(),
    }
    await repository.note_transfer(session, escrow)
    await moves.note(session, escrow, "escrow.transfer_observed", creator=event.creator_id)


async def expire_release(session: AsyncSession, part: Part) -> None:
    """The buyer has said nothing: pay if the game was seen with the buyer, else let staff look."""
    is_open = part.status is EscrowStatus.DELIVERED and part.settling is None
    if not is_open or settling.is_waiting(part):
        return
    if await holds.put_off(session, part, moves.RELEASE_BY):
        return
    telemetry.bind_trade(part.escrow.root_offer_id)
    if part.escrow.observed_transfer is None:
        await disputes.open_for(
            session,
            part,
            None,
            title=_TITLE,
            description=_DESCRIPTION,
            action=EscrowAction.DISPUTE,
        )
        return
    part.payout_due_at = await clock.now(session)
    await settling.mark_deliveries(
        session, part, DeliveryStatus.DELIVERED, DeliveryStatus.CONFIRMED
    )
    await settling.begin_release(session, part)
    await moves.note(session, part, "escrow.auto_release_begun", settling=part.settling)


async def leave(session: AsyncSession, escrow_id: UUID, buyer_id: UUID) -> Escrow:
    """The buyer leaves: unpaid if the seller has lost the game, paid if nothing was delivered.

    Raises:
        ReclaimNotOpen: it is paid, and the seller still has time to deliver.
        CancelNotOpen: it is unpaid, and the seller has the game.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await repository.lock(session, escrow_id)
    if escrow.status is not EscrowStatus.FUNDS_HELD:
        return await paying.cancel(session, escrow_id, buyer_id)
    return await reclaim(session, escrow_id, buyer_id)


async def reclaim(
    session: AsyncSession, escrow_id: UUID, buyer_id: UUID, *, position: int | None = None
) -> Escrow:
    """The buyer takes back money for which nothing was delivered in time.

    Raises:
        ReclaimNotOpen: the seller still has time to deliver.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    part = await moves.lock_part_for(session, escrow_id, position, EscrowAction.RECLAIM, buyer_id)
    assert part.deliver_by is not None
    if await clock.now(session) < part.deliver_by:
        raise ReclaimNotOpen(part.status.value, part.deliver_by)
    await settling.begin_refund(session, part, NOT_DELIVERED)
    return part.escrow
