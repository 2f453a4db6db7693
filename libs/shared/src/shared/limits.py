"""How often something may happen, counted in PostgreSQL so that all replicas share one count."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared.clock import clock
from shared.database import Model, Sessions
from shared.errors import TooManyRequests


class RateLimit(Model):
    __tablename__ = "rate_limits"

    bucket: Mapped[str] = mapped_column(primary_key=True)
    window_ends_at: Mapped[datetime]
    hits: Mapped[int]


async def hit(sessions: Sessions, bucket: str, *, limit: int, per_seconds: int) -> None:
    """Count one use of the bucket, in a transaction of its own so that a refusal counts too.

    Args:
        sessions: where the count is kept.
        bucket: what is limited and for whom, for example `offers:<user id>`.
        limit: uses allowed in one window.
        per_seconds: length of the window, which starts with the first use.

    Raises:
        TooManyRequests: this use is one too many; it says when the window ends.
    """
    window = clock() + timedelta(seconds=per_seconds)
    is_over = RateLimit.window_ends_at <= clock()
    counted = (
        insert(RateLimit)
        .values(bucket=bucket, window_ends_at=window, hits=1)
        .on_conflict_do_update(
            index_elements=[RateLimit.bucket],
            set_={
                "hits": sa.case((is_over, 1), else_=RateLimit.hits + 1),
                "window_ends_at": sa.case((is_over, window), else_=RateLimit.window_ends_at),
            },
        )
        .returning(
            RateLimit.hits,
            sa.cast(
                sa.func.ceil(sa.extract("epoch", RateLimit.window_ends_at - clock())), sa.Integer
            ),
        )
    )
    async with sessions.begin() as session:
        hits, seconds_left = (await session.execute(counted)).one()
    if hits > limit:
        raise TooManyRequests(
            f"Only {limit} are allowed in {per_seconds} seconds.",
            retry_after_seconds=max(1, seconds_left),
        )


async def forget_past(session: AsyncSession) -> None:
    """Delete the counts of windows that are over."""
    await session.execute(sa.delete(RateLimit).where(RateLimit.window_ends_at <= clock()))
