"""The answers kept for repeated commands; apart from HTTP, because workers tidy them up."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared.clock import clock
from shared.database import Model

KEPT = timedelta(hours=24)


class IdempotencyKey(Model):
    __tablename__ = "idempotency_keys"

    id: Mapped[bytes] = mapped_column(primary_key=True)
    """SHA-256 of caller, route and key: nobody can ask for another caller's answer."""
    body_hash: Mapped[bytes]
    status: Mapped[int]
    answer: Mapped[bytes | None]
    """The exact bytes sent; None when they held a secret."""
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


async def forget_old(session: AsyncSession) -> None:
    """Delete the answers that are past their 24 hours."""
    await session.execute(
        sa.delete(IdempotencyKey).where(IdempotencyKey.created_at < clock() - KEPT)
    )
