"""Disputes: opened by a side or by silence, argued, then decided by a moderator or taken back."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, part_repository, repository
from escrow.errors import (
    AlreadyConfirmed,
    DisputeOver,
    NotYourMove,
    SplitBegun,
    SplitDoesNotFit,
)
from escrow.lifecycle import (
    DISPUTE,
    DeliveryStatus,
    DisputeAction,
    EscrowAction,
    EscrowStatus,
    IntentKind,
    IntentState,
    Resolution,
    Role,
)
from escrow.milestone_models import Part
from escrow.models import Dispute, DisputeEvidence, Escrow
from escrow.use_cases import evidence, intents, moves, outcomes, settling
from shared import clock, deadlines, telemetry
from shared.events.escrow import EscrowDisputed
from shared.ids import new_id

ALERT_AFTER = timedelta(days=30)
_RETURNS = {
    EscrowStatus.FUNDS_HELD: EscrowAction.WITHDRAW_UNDELIVERED,
    EscrowStatus.DELIVERED: EscrowAction.WITHDRAW_DELIVERED,
}

log = telemetry.get_logger()


async def ask(
    session: AsyncSession,
    escrow_id: UUID,
    user_id: UUID,
    *,
    title: str,
    description: str,
    action: EscrowAction,
    position: int | None = None,
    evidence_ids: Sequence[UUID] = (),
) -> Dispute:
    """A side does not agree (DISPUTE), or the buyer refuses what was delivered (REJECT).

    Raises:
        AlreadyConfirmed: the payout is due.
        EvidenceNotFound, EvidenceNotReady, EvidenceAttached: see `evidence.attach`.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    part = await moves.lock_part_for(session, escrow_id, position, action, user_id)
    dispute = await open_for(
        session,
        part,
        user_id,
        title=title,
        description=description,
        action=action,
        evidence_ids=evidence_ids,
    )
    if action is EscrowAction.REJECT:
        await settling.mark_deliveries(
            session, part, DeliveryStatus.DELIVERED, DeliveryStatus.REJECTED
        )
    return dispute


async def open_for(
    session: AsyncSession,
    part: Part,
    opened_by: UUID | None,
    *,
    title: str,
    description: str,
    action: EscrowAction,
    evidence_ids: Sequence[UUID] = (),
) -> Dispute:
    """Open a dispute of what is locked.

    Raises:
        AlreadyConfirmed: the payout is due.
    """
    if settling.is_waiting(part):
        raise AlreadyConfirmed(part.status.value)
    now = await clock.now(session)
    dispute = Dispute(
        id=new_id(),
        escrow_id=part.escrow_id,
        milestone_id=part.milestone_id,
        opened_by=opened_by,
        opened_from=part.status,
        title=title,
        description=description,
        status=DISPUTE.initial,
    )
    await moves.move(session, part, action, dispute=str(dispute.id))
    session.add(dispute)
    await session.flush()
    await deadlines.set(session, part.id, settling.DISPUTE_ALERT, now + ALERT_AFTER)
    files = await evidence.attach(
        session, part.escrow, opened_by, evidence_ids, dispute_id=dispute.id
    )
    if isinstance(part, Escrow):
        await moves.tell(session, EscrowDisputed, part, opened_by=opened_by, evidence_count=files)
    return dispute


async def add_evidence(
    session: AsyncSession,
    escrow_id: UUID,
    dispute_id: UUID,
    user_id: UUID,
    *,
    is_staff: bool,
    statement: str,
    evidence_ids: Sequence[UUID] = (),
) -> Dispute:
    """A side says something for the moderator and the other side to read.

    Raises:
        EscrowNotFound, DisputeNotFound: as they say.
        NotYourMove: the caller is no side of the trade.
        DisputeOver: it has been decided or taken back.
        EvidenceNotFound, EvidenceNotReady, EvidenceAttached, TooManyFiles: see `evidence.attach`.
    """
    part, dispute, role = await _find(session, escrow_id, dispute_id, user_id, is_staff=is_staff)
    if role is Role.STAFF:
        raise NotYourMove("add evidence", (Role.BUYER.value, Role.SELLER.value))
    _still_open(dispute)
    session.add(DisputeEvidence(dispute_id=dispute.id, author_id=user_id, statement=statement))
    await evidence.attach(session, part.escrow, user_id, evidence_ids, dispute_id=dispute.id)
    await moves.note(session, part, "escrow.evidence_added", dispute=str(dispute.id), by=role.value)
    await session.flush()
    return dispute


async def take(
    session: AsyncSession, escrow_id: UUID, dispute_id: UUID, user_id: UUID, *, is_staff: bool
) -> Dispute:
    """A moderator who is no side of the trade begins to look at it.

    Raises:
        EscrowNotFound, DisputeNotFound, NotYourMove: as they say.
        IllegalMove: it is being looked at, or over.
    """
    part, dispute, role = await _find(session, escrow_id, dispute_id, user_id, is_staff=is_staff)
    if role is not Role.STAFF:
        raise NotYourMove("take a dispute", (Role.STAFF.value,))
    dispute.status = DISPUTE.after(dispute.status, DisputeAction.TAKE)
    dispute.moderator_id = user_id
    await moves.note(session, part, "escrow.dispute_taken", dispute=str(dispute.id))
    await session.flush()
    return dispute


async def resolve(
    session: AsyncSession,
    escrow_id: UUID,
    dispute_id: UUID,
    user_id: UUID,
    *,
    is_staff: bool,
    resolution: Resolution,
    reason: str,
    to_buyer: int | None,
) -> Dispute:
    """A moderator decides; the dispute is RESOLVED when the money has moved accordingly.

    After a definite failure of the provider the decision may be made again.

    Raises:
        SplitDoesNotFit: only a split divides, and both sides of it get something.
        SplitBegun: the buyer's part has gone back; only the same split may go on.
        AlreadyConfirmed: the decided payout waits for the seller's account.
        DisputeNotFound: as it says.
        EscrowNotFound, NotYourMove, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    is_refund = resolution is Resolution.REFUND
    action = EscrowAction.AWARD_BUYER if is_refund else EscrowAction.AWARD_SELLER
    part, dispute, role = await _find(session, escrow_id, dispute_id, user_id, is_staff=is_staff)
    await moves.check(session, part, action, user_id, role)
    DISPUTE.after(dispute.status, DisputeAction.RESOLVE)
    if await settling.waits_for_account(session, part):
        raise AlreadyConfirmed(part.status.value)
    _check_split(part, resolution, to_buyer)
    refunds = await intents.tries(session, IntentKind.REFUND, part)
    has_begun = any(intent.state is IntentState.SETTLED for intent in refunds)
    if has_begun and part.to_buyer is not None and part.to_buyer != to_buyer:
        raise SplitBegun(part.status.value, part.to_buyer)
    dispute.resolution, dispute.reason, dispute.moderator_id = resolution, reason, user_id
    part.to_buyer, part.reason, part.payout_due_at = to_buyer, reason, None
    if is_refund or (to_buyer is not None and not has_begun):
        await intents.refund(session, part)
    else:
        part.payout_due_at = await clock.now(session)
        await settling.begin_release(session, part)
    await moves.note(
        session,
        part,
        "escrow.dispute_decided",
        dispute=str(dispute.id),
        resolution=resolution.value,
        to_buyer=to_buyer,
        reason=reason,
    )
    await session.flush()
    return dispute


def _check_split(part: Part, resolution: Resolution, to_buyer: int | None) -> None:
    if (resolution is Resolution.SPLIT) != (to_buyer is not None):
        raise SplitDoesNotFit("to_buyer is for SPLIT, which needs it; leave it out otherwise.")
    if to_buyer is not None:
        try:
            outcomes.split(part, to_buyer)
        except ValueError:
            raise SplitDoesNotFit(
                f"to_buyer must leave both sides something of {part.amount} cents."
            ) from None


async def withdraw(
    session: AsyncSession, escrow_id: UUID, dispute_id: UUID, user_id: UUID, *, is_staff: bool
) -> Dispute:
    """A side takes the dispute back; when both have, the trade goes on where it was.

    Raises:
        DisputeNotFound, DisputeOver: as they say.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    part, dispute, role = await _find(session, escrow_id, dispute_id, user_id, is_staff=is_staff)
    action = _RETURNS[dispute.opened_from]
    await moves.check(session, part, action, user_id, role)
    _still_open(dispute)
    now = await clock.now(session)
    if role is Role.BUYER:
        dispute.buyer_withdrew_at = now
    else:
        dispute.seller_withdrew_at = now
    if dispute.buyer_withdrew_at is None or dispute.seller_withdrew_at is None:
        await moves.note(session, part, "escrow.withdrawal_offered", by=role.value)
        await session.flush()
        return dispute
    dispute.status = DISPUTE.after(dispute.status, DisputeAction.WITHDRAW)
    dispute.resolved_at = now
    await deadlines.clear(session, part.id, settling.DISPUTE_ALERT)
    await moves.move(session, part, action, dispute=str(dispute.id))
    if part.status is EscrowStatus.DELIVERED:
        await settling.mark_deliveries(
            session, part, DeliveryStatus.REJECTED, DeliveryStatus.DELIVERED
        )
        await moves.await_answer(session, part, now)
    else:
        await moves.await_delivery(session, part)
    await session.flush()
    return dispute


async def alert(session: AsyncSession, part: Part) -> None:
    """A dispute has been open for too long: staff are told, nothing moves."""
    dispute = await case_repository.active_dispute(session, part.escrow_id, part.milestone_id)
    if dispute is None:
        return
    dispute.alerted_at = await clock.now(session)
    await moves.note(session, part, "escrow.dispute_overdue", dispute=str(dispute.id))
    log.error("dispute.overdue", escrow_id=str(part.escrow_id), dispute_id=str(dispute.id))


async def _find(
    session: AsyncSession, escrow_id: UUID, dispute_id: UUID, user_id: UUID, *, is_staff: bool
) -> tuple[Part, Dispute, Role]:
    """What is disputed, with its escrow locked."""
    escrow = await repository.lock(session, escrow_id)
    role = moves.role_of(escrow, user_id, is_staff=is_staff)
    telemetry.bind_trade(escrow.root_offer_id)
    dispute = await case_repository.dispute(session, escrow_id, dispute_id)
    return await part_repository.part(session, escrow_id, dispute.milestone_id), dispute, role


def _still_open(dispute: Dispute) -> None:
    if dispute.status not in case_repository.ACTIVE or dispute.resolution is not None:
        raise DisputeOver(dispute.status.value)
