"""A consumer handles an event once: its claim is a row written together with its effects."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared.database import Model, driver


class InboxMessage(Model):
    """Partitioned by day of the event's UUIDv7; the owner role makes and drops the partitions."""

    __tablename__ = "inbox"

    consumer: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    topic: Mapped[str]
    handled_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


_CLAIM = (
    "INSERT INTO inbox (consumer, event_id, topic) VALUES ($1, $2, $3)"
    " ON CONFLICT DO NOTHING RETURNING true"
)


async def claim(session: AsyncSession, consumer: str, event_id: UUID, topic: str) -> bool:
    """True for the first who asks; a second waits for the first's transaction, then gets False."""
    return await (await driver(session)).fetchval(_CLAIM, consumer, event_id, topic) is not None


async def maintain(session: AsyncSession) -> None:
    """Make the partitions of the coming days and drop those past 30 days, as the owner role."""
    await session.execute(sa.text("SELECT maintain_inbox()"))
