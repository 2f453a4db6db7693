"""A job's result is written once, by whoever holds it; its last failure has its consequence."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared import jobs, outbox, telemetry
from shared.database import Sessions
from shared.jobs import Finish, Job, JobRunner, Postpone, Work
from shared.testing import eventually
from shared.testing.probe import add_effect, give_up, perform

Perform = Callable[[Job], Awaitable[Finish]]


def runner(sessions: Sessions, doing: Perform = perform, **options: Any) -> JobRunner[Job]:
    return JobRunner(sessions, {"note": Work(doing, give_up)}, **options)


async def ask(sessions: Sessions, key: str = "a", **options: Any) -> bool:
    async with sessions.begin() as session:
        return await jobs.enqueue(session, "note", key, {"n": 1}, **options)


async def job(owner: asyncpg.Connection, key: str = "a") -> dict[str, Any]:
    row = await owner.fetchrow("SELECT * FROM jobs WHERE job_key = $1", key)
    assert row is not None
    return dict(row)


async def effects(owner: asyncpg.Connection) -> list[str]:
    return [row["cause"] for row in await owner.fetch("SELECT cause FROM effects ORDER BY id")]


async def expire_lease(owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE jobs SET lease_until = clock() - interval '1 second'")


async def test_a_job_is_done_once_and_its_key_is_used_up(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    assert [await ask(sessions), await ask(sessions)] == [True, False]
    work = runner(sessions)
    assert [await work.run_one(), await work.run_one()] == [True, False]
    done = await job(owner)
    assert (done["status"], done["attempts"], done["fence"]) == ("COMPLETED", 1, 1)
    assert isinstance(done["completed_at"], datetime)
    assert await effects(owner) == ["job a"]
    assert not await ask(sessions)


async def test_a_holder_that_was_replaced_writes_nothing(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions)
    begun, thawed = asyncio.Event(), asyncio.Event()

    async def freeze(_job: Job) -> Finish:
        begun.set()
        await thawed.wait()

        async def finish(session: AsyncSession) -> None:
            await add_effect(session, "frozen holder")

        return finish

    frozen = asyncio.create_task(runner(sessions, freeze).run_one())
    await begun.wait()
    await expire_lease(owner)
    assert await runner(sessions).run_one()
    thawed.set()
    assert await frozen
    done = await job(owner)
    assert (done["status"], done["attempts"], done["fence"]) == ("COMPLETED", 2, 2)
    assert await effects(owner) == ["job a"]


async def test_work_is_cancelled_as_soon_as_the_lease_is_lost(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions)
    begun, was_cancelled = asyncio.Event(), asyncio.Event()

    async def hang(_job: Job) -> Finish:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()
        raise AssertionError

    working = asyncio.create_task(runner(sessions, hang, lease_seconds=0.5).run_one())
    await begun.wait()
    leased_until = (await job(owner))["lease_until"]

    async def renewed() -> None:
        assert (await job(owner))["lease_until"] > leased_until

    await eventually(renewed)
    assert not was_cancelled.is_set()
    await owner.execute("UPDATE jobs SET fence = fence + 1")
    assert await asyncio.wait_for(working, 5)
    assert was_cancelled.is_set()
    assert (await job(owner))["status"] == "PROCESSING"


async def fail(_job: Job) -> Finish:
    raise ValueError("no")


async def test_three_failures_end_the_job_with_its_consequence(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions, max_attempts=3)
    work = runner(sessions, fail, retry_delays_seconds=(0, 0))
    assert [await work.run_one() for _ in range(4)] == [True, True, True, False]
    failed = await job(owner)
    assert (failed["status"], failed["attempts"]) == ("FAILED", 3)
    assert failed["last_error"] == "ValueError: no"
    assert await effects(owner) == ["gave up a: ValueError: no"]


async def test_a_consequence_that_fails_leaves_the_job_open(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions, max_attempts=1)

    async def refuse(session: AsyncSession, job: Job, error: str) -> None:
        await give_up(session, job, error)
        raise ZeroDivisionError

    await JobRunner(sessions, {"note": Work(fail, refuse)}).run_one()
    assert (await job(owner))["status"] == "PROCESSING"
    assert await effects(owner) == []
    await expire_lease(owner)
    assert await runner(sessions).run_one()
    assert (await job(owner))["status"] == "FAILED"
    assert await effects(owner) == ["gave up a: The lease of the last attempt ran out."]


async def test_postponing_uses_no_attempt_and_waits(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions, max_attempts=1)

    async def postpone(_job: Job) -> Finish:
        raise Postpone(60)

    assert await runner(sessions, postpone).run_one()
    assert not await runner(sessions).run_one()
    waiting = await job(owner)
    assert (waiting["status"], waiting["attempts"], waiting["lease_until"]) == ("PENDING", 0, None)
    in_seconds = await owner.fetchval("SELECT extract(epoch FROM run_at - clock()) FROM jobs")
    assert 50 < in_seconds <= 60
    await owner.execute("UPDATE jobs SET run_at = clock()")
    assert await runner(sessions).run_one()
    assert await effects(owner) == ["job a"]


async def test_a_commit_whose_answer_is_lost_is_not_done_again(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions)
    work = runner(sessions)
    claimed = await work._claim()
    assert claimed is not None
    await work._complete(claimed, await perform(claimed))
    # What the runner does when the commit seems to have failed.
    await work._fail(claimed, Work(perform, give_up), "ConnectionResetError")
    assert not await work.run_one()
    assert (await job(owner))["status"] == "COMPLETED"
    assert await effects(owner) == ["job a"]


async def test_kinds_that_only_another_version_knows_are_left_to_it(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions)
    newer = JobRunner(sessions, {"other": Work(perform, give_up)})
    assert not await newer.run_one()
    assert (await job(owner))["attempts"] == 0


async def test_a_failed_job_can_be_asked_for_again(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions, max_attempts=1)
    await runner(sessions, fail).run_one()
    async with sessions.begin() as session:
        again = (await session.scalars(sa.select(Job))).one()
        jobs.requeue(session, again)
        assert session.info[outbox.WAKE]
    assert await runner(sessions).run_one()
    assert (await job(owner))["status"] == "COMPLETED"
    assert await effects(owner) == ["gave up a: ValueError: no", "job a"]


async def test_a_job_continues_the_trace_of_whoever_asked(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    asked = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "correlation_id": "trade 1"}
    with telemetry.continue_from(asked, "asking"):
        await ask(sessions)
    seen: dict[str, str] = {}

    async def look(job: Job) -> Finish:
        seen.update(telemetry.carry())
        return await perform(job)

    await runner(sessions, look).run_one()
    assert seen["correlation_id"] == "trade 1"
    assert seen["traceparent"].split("-")[1] == trace_id


@pytest.mark.parametrize("delays", [None, (5, 7)])
async def test_failures_wait_before_the_next_attempt(
    sessions: Sessions, owner: asyncpg.Connection, delays: tuple[int, ...] | None
) -> None:
    work = runner(sessions, fail, retry_delays_seconds=delays)
    waits = [work._delay_seconds(attempts) for attempts in (1, 2, 3, 20)]
    if delays is None:
        assert all(0 <= wait <= most for wait, most in zip(waits, (2, 4, 8, 300), strict=True))
    else:
        assert waits == [5, 7, 7, 7]


async def test_stopping_finishes_the_job_in_hand(
    sessions: Sessions, owner: asyncpg.Connection
) -> None:
    await ask(sessions, "a")
    await ask(sessions, "b")

    async def stop_meanwhile(job: Job) -> Finish:
        work.stop()
        await asyncio.sleep(0)
        return await perform(job)

    work = runner(sessions, stop_meanwhile)
    await asyncio.wait_for(work.run(), 5)
    assert await effects(owner) == ["job a"]
    assert (await job(owner, "b"))["attempts"] == 0
