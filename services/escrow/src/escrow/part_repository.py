"""Queries of what is settled, whole escrows and milestones; their escrow's row is the lock."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import repository
from escrow.errors import MilestoneNotFound
from escrow.lifecycle import EscrowStatus, IntentKind, IntentState
from escrow.milestone_models import MilestoneEscrow, MilestonePlan, Part
from escrow.models import Escrow, Intent


async def part(session: AsyncSession, escrow_id: UUID, milestone_id: UUID | None) -> Part:
    """What is settled: the milestone, or the whole escrow when none is meant."""
    if milestone_id is None:
        return await repository.escrow(session, escrow_id)
    return (
        await session.scalars(
            sa.select(MilestoneEscrow)
            .where(MilestoneEscrow.id == milestone_id, MilestoneEscrow.escrow_id == escrow_id)
            .execution_options(populate_existing=True)
        )
    ).one()


async def lock_part(session: AsyncSession, part_id: UUID) -> Part:
    """An escrow, or a milestone whose escrow is locked.

    Raises:
        EscrowNotFound: there is neither.
    """
    escrow_id = await session.scalar(
        sa.select(MilestoneEscrow.escrow_id).where(MilestoneEscrow.id == part_id)
    )
    if escrow_id is None:
        return await repository.lock(session, part_id)
    await repository.lock(session, escrow_id)
    return await part(session, escrow_id, part_id)


async def milestone_at(session: AsyncSession, escrow_id: UUID, position: int) -> MilestoneEscrow:
    """Raises: MilestoneNotFound: this escrow has none there."""
    found = await session.scalar(
        sa.select(MilestoneEscrow)
        .where(MilestoneEscrow.escrow_id == escrow_id, MilestoneEscrow.position == position)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise MilestoneNotFound(position)
    return found


async def milestones(
    session: AsyncSession, escrow_ids: Collection[UUID]
) -> Mapping[UUID, list[MilestoneEscrow]]:
    """The milestones of several escrows, in order."""
    grouped: dict[UUID, list[MilestoneEscrow]] = {escrow_id: [] for escrow_id in escrow_ids}
    if not escrow_ids:
        return grouped
    for milestone in await session.scalars(
        sa.select(MilestoneEscrow)
        .where(MilestoneEscrow.escrow_id.in_(escrow_ids))
        .order_by(MilestoneEscrow.escrow_id, MilestoneEscrow.position)
    ):
        grouped[milestone.escrow_id].append(milestone)
    return grouped


async def parts(session: AsyncSession, whole: Escrow) -> Sequence[Part]:
    """All that is settled on its own: the milestones in order, or the undivided escrow."""
    return (await milestones(session, [whole.id]))[whole.id] if whole.is_divided else [whole]


async def milestone_plan(session: AsyncSession, escrow_id: UUID) -> MilestonePlan | None:
    return await session.get(MilestonePlan, escrow_id, populate_existing=True)


async def waiting_for_payout(session: AsyncSession, seller_id: UUID) -> Sequence[Part]:
    """Escrows and milestones whose payout is due and has not begun."""
    waiting: list[Part] = []
    for kind, wanted in (
        (Escrow, sa.select(Escrow)),
        (MilestoneEscrow, sa.select(MilestoneEscrow).join(MilestoneEscrow.escrow)),
    ):
        waiting += await session.scalars(
            wanted.where(
                Escrow.seller_id == seller_id,
                kind.status.in_((EscrowStatus.DELIVERED, EscrowStatus.DISPUTED)),
                sa.or_(kind.confirmed_at.is_not(None), kind.payout_due_at.is_not(None)),
                kind.settling.is_(None),
            )
        )
    return waiting


async def settled(session: AsyncSession, escrow_id: UUID) -> Sequence[Intent]:
    """The payouts and refunds of an escrow that have come about, oldest first."""
    return (
        await session.scalars(
            sa.select(Intent)
            .where(Intent.escrow_id == escrow_id, Intent.state == IntentState.SETTLED)
            .where(Intent.kind.in_((IntentKind.RELEASE, IntentKind.REFUND)))
            .order_by(Intent.id)
        )
    ).all()
