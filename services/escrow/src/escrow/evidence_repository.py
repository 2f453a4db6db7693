"""Queries of evidence files; what changes one holds the lock of its escrow."""

from collections.abc import Collection, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from escrow.errors import EvidenceNotFound
from escrow.evidence_models import EvidenceFile
from escrow.models import Delivery


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


_DELIVERIES = (
    sa.select(Delivery, EvidenceFile)
    .outerjoin(EvidenceFile, EvidenceFile.delivery_id == Delivery.id)
    .where(Delivery.escrow_id == sa.any_(sa.bindparam("escrow_ids", type_=ARRAY(sa.Uuid))))
    .order_by(Delivery.id, EvidenceFile.id)
)


async def deliveries(
    session: AsyncSession, escrow_ids: Collection[UUID]
) -> dict[UUID, dict[Delivery, list[EvidenceFile]]]:
    """What was delivered for several escrows, with the files attached to each; oldest first."""
    grouped: dict[UUID, dict[Delivery, list[EvidenceFile]]] = {one: {} for one in escrow_ids}
    for delivery, file in await session.execute(_DELIVERIES, {"escrow_ids": list(escrow_ids)}):
        attached = grouped[delivery.escrow_id].setdefault(delivery, [])
        if file is not None:
            attached.append(file)
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
