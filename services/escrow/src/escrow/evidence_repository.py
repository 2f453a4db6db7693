"""Queries of evidence files; what changes one holds the lock of its escrow."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from escrow.errors import EvidenceNotFound
from escrow.evidence_models import EvidenceFile


async def file(session: AsyncSession, escrow_id: UUID, file_id: UUID) -> EvidenceFile:
    """Raises: EvidenceNotFound: this escrow has none of this id."""
    found = await session.get(EvidenceFile, file_id, populate_existing=True)
    if found is None or found.escrow_id != escrow_id:
        raise EvidenceNotFound(file_id)
    return found


async def visible(session: AsyncSession, escrow_id: UUID, user_id: UUID) -> Sequence[EvidenceFile]:
    """What is attached, and the reader's own; oldest first."""
    return (
        await session.scalars(
            sa.select(EvidenceFile)
            .where(
                EvidenceFile.escrow_id == escrow_id,
                sa.or_(
                    EvidenceFile.uploader_id == user_id,
                    EvidenceFile.delivery_id.is_not(None),
                    EvidenceFile.dispute_id.is_not(None),
                ),
            )
            .order_by(EvidenceFile.id)
        )
    ).all()


async def count_in_dispute(session: AsyncSession, dispute_id: UUID, uploader_id: UUID) -> int:
    """How many files one side has attached to a dispute."""
    found = await session.scalar(
        sa.select(sa.func.count()).where(
            EvidenceFile.dispute_id == dispute_id, EvidenceFile.uploader_id == uploader_id
        )
    )
    return int(found or 0)


async def of_deliveries(
    session: AsyncSession, delivery_ids: Collection[UUID]
) -> dict[UUID, list[EvidenceFile]]:
    return await _attached(session, EvidenceFile.delivery_id, delivery_ids)


async def of_disputes(
    session: AsyncSession, dispute_ids: Collection[UUID]
) -> dict[UUID, list[EvidenceFile]]:
    return await _attached(session, EvidenceFile.dispute_id, dispute_ids)


async def _attached(
    session: AsyncSession, place: InstrumentedAttribute[Any], ids: Collection[UUID]
) -> dict[UUID, list[EvidenceFile]]:
    """What is attached to several of one kind, oldest first."""
    grouped: dict[UUID, list[EvidenceFile]] = {one: [] for one in ids}
    if not ids:
        return grouped
    rows = await session.execute(
        sa.select(place, EvidenceFile).where(place.in_(ids)).order_by(EvidenceFile.id)
    )
    for owner_id, found in rows:
        grouped[owner_id].append(found)
    return grouped
