"""Whoever commits work wakes the schema's workers; losing the wake-up loses nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
from libs.shared.tests.conftest import Probe
from pydantic import SecretStr

from shared import jobs
from shared.database import Sessions
from shared.jobs import JobRunner, Work
from shared.testing import Stack, connection, eventually
from shared.testing.probe import give_up, perform
from shared.wakeups import Listener, Notifier


@contextlib.asynccontextmanager
async def listening(probe: Probe) -> AsyncIterator[asyncio.Event]:
    """An event that has not been set since the listener is there."""
    woken = asyncio.Event()
    task = asyncio.create_task(Listener(probe.settings, [woken]).run())
    await asyncio.wait_for(woken.wait(), 5)
    woken.clear()
    yield woken
    task.cancel()


async def ask(sessions: Sessions, key: str) -> None:
    async with sessions.begin() as session:
        await jobs.enqueue(session, "note", key, {})


async def test_a_commit_with_work_wakes_and_nothing_else_does(
    probe: Probe, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    async with Notifier(probe.settings), listening(probe) as woken:
        with contextlib.suppress(ZeroDivisionError):
            async with sessions.begin() as session:
                await jobs.enqueue(session, "note", "rolled back", {})
                raise ZeroDivisionError
        async with sessions.begin() as session:
            await session.connection()
        async with sessions.begin() as session:
            async with session.begin_nested():
                await jobs.enqueue(session, "note", "in a savepoint", {})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), 0.2)
            assert not woken.is_set()
        await asyncio.wait_for(woken.wait(), 5)


async def test_a_notifier_without_a_database_fails_no_command_and_jobs_are_polled_for(
    probe: Probe, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    nowhere = probe.settings.model_copy(
        update={"database_url": SecretStr("postgresql://probe_app:x@127.0.0.1:9/none")}
    )
    runner = JobRunner(sessions, {"note": Work(perform, give_up)})
    running = asyncio.create_task(runner.run())

    async def done() -> None:
        assert await owner.fetchval("SELECT count(*) FROM effects") == 1

    async with Notifier(nowhere):
        await ask(sessions, "a")
        await eventually(done)
    runner.stop()
    await running


async def test_both_sides_find_their_way_back_to_the_database(
    probe: Probe, postgres_server: Stack, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    async with (
        Notifier(probe.settings),
        listening(probe) as woken,
        connection(postgres_server.superuser_dsn("postgres")) as superuser,
    ):
        await ask(sessions, "before")
        await asyncio.wait_for(woken.wait(), 5)
        woken.clear()
        await superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'probe_app' AND query ~ '_work|LISTEN'"
        )
        # The listener rings once it is back, because it may have missed something.
        await asyncio.wait_for(woken.wait(), 10)
        woken.clear()
        await ask(sessions, "after")
        await asyncio.wait_for(woken.wait(), 10)
