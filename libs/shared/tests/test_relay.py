"""Every recorded event reaches its topic, each aggregate's in order, whoever dies when."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psutil
import pytest
from libs.shared.tests.conftest import Start

from shared import leases, outbox, relay
from shared.database import Sessions
from shared.relay import Relay
from shared.testing import Stack, eventually
from shared.testing.probe import ProbeSettings, Relayed

CRASHES = (
    "relay.before_send",
    "relay.mid_batch",
    "relay.after_send_before_ack",
    "relay.after_ack_before_mark",
)


async def record(sessions: Sessions, thing_id: UUID, number: int) -> UUID:
    async with sessions.begin() as session:
        return await outbox.record(session, Relayed(version=1, thing_id=thing_id, number=number))


async def record_many(sessions: Sessions, things: list[UUID], count: int) -> None:
    """Events of all things at once, from writers that do not wait for each other."""

    async def write(writer: int) -> None:
        for number in range(count):
            await record(sessions, things[(writer + number) % len(things)], number)

    await asyncio.gather(*(write(writer) for writer in range(4)))


async def all_published(owner: asyncpg.Connection) -> None:
    assert await owner.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0


@contextlib.asynccontextmanager
async def relaying(settings: ProbeSettings) -> AsyncIterator[Relay]:
    """A relay without wake-ups: it has to poll."""
    running = Relay(settings)
    task = asyncio.create_task(running.run())
    yield running
    running.stop()
    await asyncio.wait_for(task, 20)


async def first_occurrences(stack: Stack, owner: asyncpg.Connection) -> tuple[list[Any], int]:
    """What the topic says about the events in the outbox, and how many messages repeat another."""
    known = {str(row["event_id"]) for row in await owner.fetch("SELECT event_id FROM outbox")}
    first: dict[str, dict[str, str]] = {}
    repeats = 0
    for message in await stack.read(Relayed.topic):
        headers = {name: value.decode() for name, value in message.headers}
        if headers["ce_id"] not in known:
            continue
        repeats += headers["ce_id"] in first
        first.setdefault(headers["ce_id"], headers)
    assert set(first) == known
    return list(first.values()), repeats


def assert_ordered(events: list[dict[str, str]]) -> None:
    by_thing: dict[str, list[int]] = {}
    for headers in events:
        by_thing.setdefault(headers["ce_subject"], []).append(int(headers["ce_sequence"]))
    for sequences in by_thing.values():
        assert sequences == list(range(1, len(sequences) + 1))


async def test_parallel_writers_keep_each_aggregate_in_order(
    kafka_stack: Stack, settings: ProbeSettings, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    async with relaying(settings):
        await record_many(sessions, [uuid4() for _ in range(5)], 30)
        await eventually(lambda: all_published(owner))
    events, repeats = await first_occurrences(kafka_stack, owner)
    assert (len(events), repeats) == (120, 0)
    assert_ordered(events)


_MANY_OTHERS = """
    INSERT INTO outbox (event_id, aggregate_id, sequence, topic, key, payload, headers)
    SELECT id, id::text, 1, 'probe.relayed', id::text, '{}',
        jsonb_build_object('ce_id', id, 'ce_subject', id, 'ce_sequence', '1')
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 400)) AS ids
"""


async def test_an_event_that_was_committed_late_goes_before_what_came_next(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "PAGE_ROWS", 10)
    thing_id = uuid4()

    async def some_published() -> None:
        assert await owner.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NOT NULL")

    async with sessions() as late:
        # Its id is lower than those of all the others, which can be seen before it.
        await outbox.record(late, Relayed(version=1, thing_id=thing_id, number=0))
        await owner.execute(_MANY_OTHERS)
        async with relaying(settings):
            await eventually(some_published)
            await late.commit()
            await record(sessions, thing_id, 1)
            assert await owner.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            await eventually(lambda: all_published(owner))
    events, repeats = await first_occurrences(kafka_stack, owner)
    assert (len(events), repeats) == (402, 0)
    assert_ordered(events)


async def test_a_relay_that_is_killed_anywhere_loses_nothing_and_swaps_nothing(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    started: Start,
) -> None:
    things = [uuid4() for _ in range(8)]
    for name in CRASHES:
        await record_many(sessions, things, 20)
        async with started(settings.model_copy(update={"crash_at": name})) as process:
            assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGKILL
        assert await owner.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") > 0
        await expire_lease(owner)
    async with relaying(settings):
        await eventually(lambda: all_published(owner))
    events, repeats = await first_occurrences(kafka_stack, owner)
    assert len(events) == 320
    assert repeats > 0
    assert_ordered(events)


async def expire_lease(owner: asyncpg.Connection) -> None:
    """As if ten seconds had passed."""
    await owner.execute("UPDATE relay_leases SET lease_until = clock() - interval '1 second'")


async def lead_by(owner: asyncpg.Connection, fence: int) -> None:
    [row] = await owner.fetch("SELECT fence, lease_until FROM relay_leases")
    assert row["fence"] == fence
    assert row["lease_until"] is not None


async def test_a_frozen_leader_is_replaced_and_does_not_lead_again(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    started: Start,
) -> None:
    fence = await owner.fetchval("SELECT fence FROM relay_leases")
    thing_id = uuid4()
    async with started(settings) as frozen:
        await eventually(lambda: lead_by(owner, fence + 1))
        frozen.send_signal(signal.SIGSTOP)
        thaws_at = asyncio.get_running_loop().time() + leases.RENEW_SECONDS
        await expire_lease(owner)
        async with relaying(settings):
            await eventually(lambda: lead_by(owner, fence + 2))
            for number in range(3):
                await record(sessions, thing_id, number)
            await eventually(lambda: all_published(owner))
            # Thawed past its time to renew, it must ask first and learns that it does not lead.
            await asyncio.sleep(max(0.0, thaws_at - asyncio.get_running_loop().time()))
            frozen.send_signal(signal.SIGCONT)
            assert frozen.stdout is not None
            async with asyncio.timeout(10):
                while b"LeaseLost" not in await frozen.stdout.readline():
                    pass
            await record(sessions, thing_id, 3)
            await eventually(lambda: all_published(owner))
            await lead_by(owner, fence + 2)
    events, repeats = await first_occurrences(kafka_stack, owner)
    assert (len(events), repeats) == (4, 0)
    assert_ordered(events)


async def test_a_topic_that_is_missing_holds_up_no_other(
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "METADATA_WITHIN_SECONDS", 0.5)
    stuck = await record(sessions, uuid4(), 1)
    await owner.execute("UPDATE outbox SET topic = 'probe.nowhere'")
    for number in range(3):
        await record(sessions, uuid4(), number)

    async def only_the_stuck_one_waits() -> None:
        rows = await owner.fetch("SELECT event_id FROM outbox WHERE published_at IS NULL")
        assert [row["event_id"] for row in rows] == [stuck]

    async with relaying(settings):
        await eventually(only_the_stuck_one_waits)


async def test_a_broker_that_answers_no_more_makes_the_relay_start_over(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "ACK_WITHIN_SECONDS", 0.5)
    monkeypatch.setattr("shared.producer.STOP_WITHIN_SECONDS", 0.5)
    broker = psutil.Process(kafka_stack.status()["kafka"]["pid"])
    thing_id = uuid4()

    async def given_back() -> None:
        assert await owner.fetchval("SELECT lease_until FROM relay_leases") is None

    async with relaying(settings):
        await record(sessions, thing_id, 0)
        await eventually(lambda: all_published(owner))
        broker.suspend()
        try:
            for number in range(1, 6):
                await record(sessions, thing_id, number)
            await eventually(given_back)
        finally:
            broker.resume()
        await eventually(lambda: all_published(owner), 20)
    events, _ = await first_occurrences(kafka_stack, owner)
    assert len(events) == 6
    assert_ordered(events)
