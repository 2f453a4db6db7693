"""Queries of evidence files; what changes one holds the lock of its escrow."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from escrow.errors import EvidenceNotFound
from escrow.evidence_models import EvidenceFile
from shared.database import driver


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


_DELIVERIES = """
SELECT *, EXISTS (SELECT FROM evidence_files WHERE delivery_id = deliveries.id) AS has_files
FROM deliveries WHERE escrow_id = ANY($1) ORDER BY id
"""


async def deliveries(
    session: AsyncSession, escrow_ids: Collection[UUID]
) -> dict[UUID, list[dict[str, Any]]]:
    """What was delivered for several escrows, oldest first: rows, each with its files as
    `evidence`.
    """
    grouped: dict[UUID, list[dict[str, Any]]] = {one: [] for one in escrow_ids}
    rows = await (await driver(session)).fetch(_DELIVERIES, escrow_ids)
    files = await _of_deliveries(session, [row["id"] for row in rows if row["has_files"]])
    for row in rows:
        grouped[row["escrow_id"]].append({**row, "evidence": files.get(row["id"], [])})
    return grouped


async def _of_deliveries(
    session: AsyncSession, delivery_ids: Collection[UUID]
) -> Mapping[UUID, list[EvidenceFile]]:
    """What is attached to several deliveries, oldest first."""
    grouped: dict[UUID, list[EvidenceFile]] = {one: [] for one in delivery_ids}
    if not delivery_ids:
        return grouped
    for found in await session.scalars(
        sa.select(EvidenceFile)
        .where(EvidenceFile.delivery_id.in_(delivery_ids))
        .order_by(EvidenceFile.id)
    ):
        assert found.delivery_id is not None
        grouped[found.delivery_id].append(found)
    return grouped


async def of_disputes(
    session: AsyncSession, dispute_ids: Collection[UUID]
) -> dict[UUID, list[EvidenceFile]]:
    """What is attached to several disputes, oldest first."""
    grouped: dict[UUID, list[EvidenceFile]] = {one: [] for one in dispute_ids}
    for found in await session.scalars(
        sa.select(EvidenceFile)
        .where(EvidenceFile.dispute_id.in_(dispute_ids))
        .order_by(EvidenceFile.id)
    ):
        assert found.dispute_id is not None
        grouped[found.dispute_id].append(found)
    return grouped
