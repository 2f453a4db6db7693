"""Limits are counted together by all who share the database, and a refusal says when to return."""

import asyncio

import pytest
import sqlalchemy as sa

from shared import limits
from shared.clock import clock
from shared.database import Sessions
from shared.errors import TooManyRequests
from shared.limits import RateLimit


async def count(sessions: Sessions, bucket: str) -> int | None:
    async with sessions.begin() as session:
        found = await session.get(RateLimit, bucket)
        return found.hits if found else None


async def end_windows(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(sa.update(RateLimit).values(window_ends_at=clock()))


async def test_a_burst_is_let_in_up_to_the_limit(sessions: Sessions) -> None:
    async def one() -> int:
        try:
            await limits.hit(sessions, "burst", limit=5, per_seconds=60)
        except TooManyRequests as refused:
            return refused.retry_after_seconds
        return 0

    waits = await asyncio.gather(*(one() for _ in range(20)))
    assert sum(wait == 0 for wait in waits) == 5
    assert {wait for wait in waits if wait} <= {59, 60}
    assert await count(sessions, "burst") == 20


async def test_buckets_do_not_share_their_count(sessions: Sessions) -> None:
    await limits.hit(sessions, "offers:a", limit=1, per_seconds=60)
    await limits.hit(sessions, "offers:b", limit=1, per_seconds=60)
    with pytest.raises(TooManyRequests):
        await limits.hit(sessions, "offers:a", limit=1, per_seconds=60)


async def test_a_new_window_starts_from_one(sessions: Sessions) -> None:
    for _ in range(2):
        await limits.hit(sessions, "windows", limit=2, per_seconds=60)
    with pytest.raises(TooManyRequests):
        await limits.hit(sessions, "windows", limit=2, per_seconds=60)
    await end_windows(sessions)
    await limits.hit(sessions, "windows", limit=2, per_seconds=60)
    assert await count(sessions, "windows") == 1


async def test_only_counts_of_past_windows_are_forgotten(sessions: Sessions) -> None:
    await limits.hit(sessions, "past", limit=1, per_seconds=60)
    await end_windows(sessions)
    await limits.hit(sessions, "present", limit=1, per_seconds=60)
    async with sessions.begin() as session:
        await limits.forget_past(session)
    assert (await count(sessions, "past"), await count(sessions, "present")) == (None, 1)
