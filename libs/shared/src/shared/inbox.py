"""A consumer handles an event once: its claim is a row written together with its effects."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared.database import Model


class InboxMessage(Model):
    """Partitioned by day of the event's UUIDv7; the owner role makes and drops the partitions."""

    __tablename__ = "inbox"

    consumer: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    topic: Mapped[str]
    handled_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


async def claim(session: AsyncSession, consumer: str, event_id: UUID, topic: str) -> bool:
    """True for the first who asks; a second waits for the first's transaction, then gets False."""
    claimed = await session.execute(
        insert(InboxMessage)
        .values(consumer=consumer, event_id=event_id, topic=topic)
        .on_conflict_do_nothing()
        .returning(InboxMessage.event_id)
    )
    return claimed.scalar_one_or_none() is not None


async def maintain(session: AsyncSession) -> None:
    """Make the partitions of the coming days and drop those past 30 days, as the owner role."""
    await session.execute(sa.text("SELECT maintain_inbox()"))
