"""Queries of disputes, holds and a moderator's page; all under the lock of their escrow."""

from collections.abc import Collection, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from escrow.errors import DisputeNotFound, HoldNotFound
from escrow.lifecycle import DisputeStatus
from escrow.milestone_models import MilestoneEscrow
from escrow.models import Dispute, DisputeEvidence, Hold, Intent, LedgerEntry
from escrow.postings import Account
from shared.audit import AuditLog
from shared.database import driver

ACTIVE = (DisputeStatus.OPEN, DisputeStatus.IN_REVIEW)


async def dispute(session: AsyncSession, escrow_id: UUID, dispute_id: UUID) -> Dispute:
    """Raises: DisputeNotFound: this escrow has none of this id."""
    found = await session.get(Dispute, dispute_id, populate_existing=True)
    if found is None or found.escrow_id != escrow_id:
        raise DisputeNotFound(dispute_id)
    return found


async def active_dispute(
    session: AsyncSession, escrow_id: UUID, milestone_id: UUID | None = None
) -> Dispute | None:
    """The one, of the whole or of a milestone, that is neither resolved nor closed."""
    return await session.scalar(
        sa.select(Dispute)
        .where(Dispute.escrow_id == escrow_id, Dispute.status.in_(ACTIVE))
        .where(Dispute.milestone_id.is_not_distinct_from(milestone_id))
        .execution_options(populate_existing=True)
    )


async def disputes(session: AsyncSession, escrow_id: UUID) -> Sequence[Dispute]:
    """Oldest first."""
    return (
        await session.scalars(
            sa.select(Dispute).where(Dispute.escrow_id == escrow_id).order_by(Dispute.id)
        )
    ).all()


async def disputes_by(
    session: AsyncSession, statuses: Collection[DisputeStatus], *, after: UUID | None, limit: int
) -> Sequence[Dispute]:
    """Of every escrow, oldest first."""
    wanted = sa.select(Dispute).where(Dispute.status.in_(statuses))
    if after is not None:
        wanted = wanted.where(Dispute.id > after)
    return (await session.scalars(wanted.order_by(Dispute.id).limit(limit))).all()


async def evidence(
    session: AsyncSession, dispute_ids: Collection[UUID]
) -> dict[UUID, list[DisputeEvidence]]:
    """What was said in several disputes, oldest first."""
    grouped: dict[UUID, list[DisputeEvidence]] = {one: [] for one in dispute_ids}
    for said in await session.scalars(
        sa.select(DisputeEvidence)
        .where(DisputeEvidence.dispute_id.in_(dispute_ids))
        .order_by(DisputeEvidence.id)
    ):
        grouped[said.dispute_id].append(said)
    return grouped


async def hold(session: AsyncSession, escrow_id: UUID, hold_id: UUID) -> Hold:
    """Raises: HoldNotFound: this escrow has none of this id."""
    found = await session.get(Hold, hold_id, populate_existing=True)
    if found is None or found.escrow_id != escrow_id:
        raise HoldNotFound(hold_id)
    return found


async def payment(session: AsyncSession, payment_intent_id: str) -> Intent | None:
    """What asked for this payment, as it is now."""
    return await session.scalar(
        sa.select(Intent)
        .where(Intent.object_id == payment_intent_id)
        .execution_options(populate_existing=True)
    )


async def held(session: AsyncSession, escrow_id: UUID) -> int:
    """Cents of an escrow's own currency that the ledger says are held."""
    total = await session.scalar(
        sa.select(sa.func.coalesce(sa.func.sum(LedgerEntry.amount), 0)).where(
            LedgerEntry.escrow_id == escrow_id, LedgerEntry.account == Account.ESCROW_HELD
        )
    )
    return int(total or 0)


async def is_held(session: AsyncSession, escrow_id: UUID) -> bool:
    """Whether a hold is in place."""
    placed = sa.exists().where(Hold.escrow_id == escrow_id, Hold.lifted_at.is_(None))
    return bool(await session.scalar(sa.select(placed)))


_STOPS = """
SELECT EXISTS (SELECT FROM users WHERE id = $2 AND is_frozen),
    EXISTS (SELECT FROM holds WHERE escrow_id = $1 AND lifted_at IS NULL)
"""


async def stops(session: AsyncSession, escrow_id: UUID, user_id: UUID) -> tuple[bool, bool]:
    """What keeps a party from moving an escrow: their account is frozen, a hold is in place."""
    found = await (await driver(session)).fetchrow(_STOPS, escrow_id, user_id)
    assert found is not None
    return found[0], found[1]


async def holds(session: AsyncSession, escrow_id: UUID) -> Sequence[Hold]:
    """Oldest first, lifted ones too."""
    return (
        await session.scalars(sa.select(Hold).where(Hold.escrow_id == escrow_id).order_by(Hold.id))
    ).all()


async def intents(session: AsyncSession, escrow_id: UUID) -> Sequence[Intent]:
    """Everything that was asked of the provider for an escrow, oldest first."""
    return (
        await session.scalars(
            sa.select(Intent).where(Intent.escrow_id == escrow_id).order_by(Intent.id)
        )
    ).all()


async def history(session: AsyncSession, escrow_id: UUID) -> Sequence[AuditLog]:
    """Every change of an escrow and its milestones, oldest first."""
    milestones = sa.select(sa.cast(MilestoneEscrow.id, sa.Text)).where(
        MilestoneEscrow.escrow_id == escrow_id
    )
    of_the_whole = (AuditLog.subject_type == "escrow") & (AuditLog.subject_id == str(escrow_id))
    of_a_part = (AuditLog.subject_type == "milestone") & AuditLog.subject_id.in_(milestones)
    return (
        await session.scalars(
            sa.select(AuditLog).where(of_the_whole | of_a_part).order_by(AuditLog.id)
        )
    ).all()
