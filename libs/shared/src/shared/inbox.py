"""A consumer handles an event once: its claim is a row written together with its effects."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
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


_CLAIM = sa.text(
    "INSERT INTO inbox (consumer, event_id, topic) VALUES (:consumer, :event_id, :topic)"
    " ON CONFLICT DO NOTHING RETURNING true"
)
"""Said once, as text: building the statement anew would cost more than running it."""


async def claim(session: AsyncSession, consumer: str, event_id: UUID, topic: str) -> bool:
    """True for the first who asks; a second waits for the first's transaction, then gets False."""
    connection = await session.connection()
    claimed = await connection.execute(
        _CLAIM, {"consumer": consumer, "event_id": event_id, "topic": topic}
    )
    return claimed.scalar_one_or_none() is not None


async def maintain(session: AsyncSession) -> None:
    """Make the partitions of the coming days and drop those past 30 days, as the owner role."""
    await session.execute(sa.text("SELECT maintain_inbox()"))
