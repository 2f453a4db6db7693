"""A waiting state ends exactly once: by the party in time, or by the clock."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared import clock, deadlines
from shared.database import Sessions
from shared.deadlines import DeadlineTicker, Expiry
from shared.testing.probe import Thing, add_effect

PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def lock(session: AsyncSession, thing_id: UUID) -> Thing:
    found = await session.scalars(sa.select(Thing).where(Thing.id == thing_id).with_for_update())
    return found.one()


async def expire(session: AsyncSession, thing: Thing) -> None:
    if thing.state == "waiting":
        thing.state = "expired"
        thing.moves += 1
        await add_effect(session, "expired")


async def begin(sessions: Sessions, due_at: datetime) -> UUID:
    thing_id = uuid4()
    async with sessions.begin() as session:
        session.add(Thing(id=thing_id, state="waiting", moves=0))
        await deadlines.set(session, thing_id, "wait", due_at)
    return thing_id


async def accept(sessions: Sessions, thing_id: UUID) -> bool:
    """The command: true when it was in time."""
    async with sessions.begin() as session:
        thing = await lock(session, thing_id)
        if thing.state != "waiting":
            return False
        thing.state = "accepted"
        thing.moves += 1
        await deadlines.clear(session, thing_id, "wait")
        return True


def ticker(sessions: Sessions) -> DeadlineTicker:
    return DeadlineTicker(sessions, {"wait": Expiry(lock=lock, expire=expire)})


async def states(owner: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await owner.fetch("SELECT state, moves FROM things ORDER BY id")
    return [tuple(row) for row in rows]


async def test_what_is_due_expires_once_and_what_is_not_waits(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await begin(sessions, PAST)
    async with sessions() as session:
        later = await clock.now(session) + timedelta(minutes=1)
    await begin(sessions, later)
    ticks = ticker(sessions)
    assert [await ticks.tick(), await ticks.tick()] == [1, 0]
    assert sorted(await states(owner)) == [("expired", 1), ("waiting", 0)]


async def test_a_cleared_or_replaced_deadline_does_nothing(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    accepted, prolonged = await begin(sessions, PAST), await begin(sessions, PAST)
    assert await accept(sessions, accepted)
    async with sessions.begin() as session:
        now = await clock.now(session)
        await deadlines.set(session, prolonged, "wait", now + timedelta(minutes=1))
    assert await ticker(sessions).tick() == 0
    assert sorted(await states(owner)) == [("accepted", 1), ("waiting", 0)]


async def test_at_the_boundary_exactly_one_side_wins(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    chance = random.Random(7)  # noqa: S311 - repeatable
    accepted = 0
    for _ in range(20):
        async with sessions() as session:
            due_at = await clock.now(session) + timedelta(milliseconds=30)
        things = [await begin(sessions, due_at) for _ in range(4)]

        async def race(thing_id: UUID, until: datetime) -> bool:
            left = (until - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(0.0, left + chance.uniform(-0.001, 0.001)))
            return await accept(sessions, thing_id)

        async def tick(until: datetime) -> None:
            left = (until - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(0.0, left + chance.uniform(-0.001, 0.001)))
            await ticker(sessions).tick()

        *won, _, _ = await asyncio.gather(
            *(race(thing_id, due_at) for thing_id in things), tick(due_at), tick(due_at)
        )
        accepted += sum(map(bool, won))
    while await ticker(sessions).tick():
        pass
    ended = await states(owner)
    assert {moves for _, moves in ended} == {1}
    assert [state for state, _ in ended].count("accepted") == accepted
    assert [state for state, _ in ended].count("expired") == 80 - accepted
    assert await owner.fetchval("SELECT count(*) FROM effects") == 80 - accepted
    assert await owner.fetchval("SELECT count(*) FROM deadlines WHERE done_at IS NULL") == 0


async def test_one_that_fails_does_not_hold_up_the_others(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    async with sessions.begin() as session:
        await deadlines.set(session, uuid4(), "wait", PAST - timedelta(days=1))
    await begin(sessions, PAST)
    assert await ticker(sessions).tick() == 1
    assert await states(owner) == [("expired", 1)]
    assert await owner.fetchval("SELECT count(*) FROM deadlines WHERE done_at IS NULL") == 1
