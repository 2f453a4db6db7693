"""Work that calls the outside: claimed under a lease, written back only at the current fence.

No transaction is open while a job is performed. What it found out is written in one transaction
together with COMPLETED, and only if nobody has claimed the job since (protocol of leases and
fences). The outside world cannot check our fence, so it is called under keys that stay the same.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from prometheus_client import Counter
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from shared import outbox, telemetry
from shared.clock import clock
from shared.database import Model, Sessions, text_enum
from shared.ids import new_id

LEASE_SECONDS = 10
HEARTBEAT_SECONDS = 3
POLL_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 300

log = telemetry.get_logger()
attempts_total = Counter("job_attempts_total", "Attempts by outcome.", ["kind", "outcome"])


class JobStatus(StrEnum):
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class JobColumns:
    """What every job table has; a table that names a column otherwise says so itself."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    headers: Mapped[dict[str, Any]]
    """The trace and correlation id of whoever asked for the work."""
    status: Mapped[JobStatus] = mapped_column(text_enum(JobStatus), default=JobStatus.PENDING)
    processing_started_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    completed_at: Mapped[datetime | None]

    @declared_attr
    def run_at(cls) -> Mapped[datetime]:  # noqa: N805 - SQLAlchemy calls it with the class
        return mapped_column(server_default=sa.text("clock()"))


class Job(JobColumns, Model):
    __tablename__ = "jobs"

    job_key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]


async def enqueue(
    session: AsyncSession,
    kind: str,
    job_key: str,
    payload: dict[str, Any],
    *,
    max_attempts: int = 10,
    delay_seconds: float = 0,
) -> bool:
    """Ask for work in the caller's transaction; False when the key has been used before."""
    asked = await session.execute(
        insert(Job)
        .values(
            id=new_id(),
            job_key=job_key,
            kind=kind,
            payload=payload,
            headers=telemetry.carry(),
            max_attempts=max_attempts,
            run_at=clock() + timedelta(seconds=delay_seconds),
        )
        .on_conflict_do_nothing(index_elements=[Job.job_key])
        .returning(Job.id)
    )
    session.info[outbox.WAKE] = True
    return asked.scalar_one_or_none() is not None


def requeue(session: AsyncSession, job: JobColumns) -> None:
    """Start a finished or failed job again, with all its attempts."""
    job.status = JobStatus.PENDING
    job.attempts = 0
    job.run_at = clock()
    job.lease_until = job.last_error = job.completed_at = None
    session.info[outbox.WAKE] = True


class Postpone(Exception):
    """It is not time yet: look again after so many seconds, without using up an attempt."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds


J = TypeVar("J", bound=JobColumns)
Finish = Callable[[AsyncSession], Awaitable[None]]


@dataclass(frozen=True)
class Work(Generic[J]):
    """How one kind of job is done, and what its last failure means."""

    perform: Callable[[J], Awaitable[Finish]]
    give_up: Callable[[AsyncSession, J, str], Awaitable[None]]


class LeaseLost(Exception):
    """Somebody else has claimed the job; nothing of ours may be written."""


class JobRunner(Generic[J]):
    """Takes due jobs of one table, one at a time; run as many processes as you like."""

    def __init__(
        self,
        sessions: Sessions,
        works: Mapping[str, Work[J]] | Work[J],
        table: type[J] = Job,  # type: ignore[assignment] # the default table
        *,
        lease_seconds: float = LEASE_SECONDS,
        retry_delays_seconds: Sequence[float] | None = None,
    ) -> None:
        self._sessions = sessions
        self._works = works
        self._table = table
        self._lease = timedelta(seconds=lease_seconds)
        self._heartbeat_seconds = lease_seconds * HEARTBEAT_SECONDS / LEASE_SECONDS
        self._delays = retry_delays_seconds
        self.wake = asyncio.Event()

    def _work(self, job: J) -> tuple[str, Work[J]]:
        if isinstance(self._works, Work):
            return self._table.__tablename__, self._works  # type: ignore[attr-defined]
        assert isinstance(job, Job)
        return job.kind, self._works[job.kind]

    async def run(self) -> None:
        """Work until cancelled; a failing database is waited for."""
        while True:
            self.wake.clear()
            if not await self.run_one():
                with_timeout = asyncio.wait_for(self.wake.wait(), POLL_SECONDS)
                try:
                    await with_timeout
                except TimeoutError:
                    continue

    async def run_one(self) -> bool:
        """Do one due job; False when none was due or the database does not answer."""
        try:
            await self._bury_the_abandoned()
            job = await self._claim()
            if job is None:
                return False
            await self._do(job)
        except (OSError, sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            log.warning("job.database_refused", reason=type(error).__name__)
            return False
        return True

    async def _claim(self) -> J | None:
        table = self._table
        due = (
            sa.select(table.id)
            .where(
                table.run_at <= clock(),
                table.attempts < table.max_attempts,
                sa.or_(
                    table.status == JobStatus.PENDING,
                    sa.and_(table.status == JobStatus.PROCESSING, table.lease_until < clock()),
                ),
            )
            .order_by(table.run_at)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        claim = (
            sa.update(table)
            .where(table.id == due)
            .values(
                status=JobStatus.PROCESSING,
                processing_started_at=clock(),
                lease_until=clock() + self._lease,
                fence=table.fence + 1,
                attempts=table.attempts + 1,
                updated_at=clock(),
            )
            .returning(table)
        )
        async with self._sessions.begin() as session:
            return (await session.execute(claim)).scalar_one_or_none()

    async def _do(self, job: J) -> None:
        kind, work = self._work(job)
        with telemetry.continue_from(job.headers, f"job {kind}"):
            try:
                finish = await self._under_lease(job, work)
                await self._complete(job, finish)
                attempts_total.labels(kind, "completed").inc()
            except LeaseLost:
                attempts_total.labels(kind, "lease_lost").inc()
                log.warning("job.lease_lost", kind=kind, job_id=str(job.id))
            except Postpone as later:
                await self._release(job, later.seconds, error=None, uses_attempt=False)
            except Exception as error:
                attempts_total.labels(kind, "failed").inc()
                log.warning("job.failed", kind=kind, job_id=str(job.id), exc_info=error)
                await self._fail(job, work, f"{type(error).__name__}: {error}"[:2000])

    async def _under_lease(self, job: J, work: Work[J]) -> Finish:
        """Perform the job while its lease is renewed; stop at once when the lease is lost."""
        doing = asyncio.ensure_future(work.perform(job))
        beating = asyncio.ensure_future(self._heartbeat(job))
        try:
            await asyncio.wait({doing, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                beating.result()
            return await doing
        finally:
            for task in (doing, beating):
                task.cancel()
            await asyncio.gather(doing, beating, return_exceptions=True)

    async def _heartbeat(self, job: J) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                async with self._sessions.begin() as session:
                    await self._at_fence(session, job, lease_until=clock() + self._lease)
            except (OSError, sa.exc.DBAPIError, sa.exc.TimeoutError):
                continue  # the fence decides at the end

    async def _at_fence(self, session: AsyncSession, job: J, **values: Any) -> None:
        """Write to the job, if it is still ours.

        Raises:
            LeaseLost: it is not.
        """
        table = self._table
        written = await session.execute(
            sa.update(table)
            .where(table.id == job.id, table.fence == job.fence)
            .values(updated_at=clock(), **values)
            .returning(table.id)
        )
        if written.scalar_one_or_none() is None:
            raise LeaseLost

    async def _complete(self, job: J, finish: Finish) -> None:
        async with self._sessions.begin() as session:
            # The aggregate is locked before the job, in the same order as commands lock them.
            await finish(session)
            await self._at_fence(
                session,
                job,
                status=JobStatus.COMPLETED,
                completed_at=clock(),
                lease_until=None,
                last_error=None,
            )

    async def _fail(self, job: J, work: Work[J], error: str) -> None:
        if job.attempts < job.max_attempts:
            await self._release(job, self._delay(job.attempts), error=error, uses_attempt=True)
            return
        with contextlib.suppress(LeaseLost):
            async with self._sessions.begin() as session:
                await self._bury(session, job, work, error)

    async def _bury(self, session: AsyncSession, job: J, work: Work[J], error: str) -> None:
        kind, _ = self._work(job)
        await work.give_up(session, job, error)
        await self._at_fence(
            session, job, status=JobStatus.FAILED, lease_until=None, last_error=error
        )
        attempts_total.labels(kind, "given_up").inc()
        log.error("job.given_up", kind=kind, job_id=str(job.id), error=error)

    async def _release(
        self, job: J, seconds: float, *, error: str | None, uses_attempt: bool
    ) -> None:
        with contextlib.suppress(LeaseLost):
            async with self._sessions.begin() as session:
                await self._at_fence(
                    session,
                    job,
                    status=JobStatus.PENDING,
                    run_at=clock() + timedelta(seconds=seconds),
                    lease_until=None,
                    last_error=error,
                    attempts=job.attempts if uses_attempt else job.attempts - 1,
                )

    def _delay(self, attempts: int) -> float:
        if self._delays is not None:
            return self._delays[min(attempts, len(self._delays)) - 1]
        return random.uniform(0, min(LONGEST_BACKOFF_SECONDS, 2**attempts))  # noqa: S311 - jitter

    async def _bury_the_abandoned(self) -> None:
        """Fail jobs whose holder vanished during the last attempt."""
        table = self._table
        abandoned = sa.select(table).where(
            table.status == JobStatus.PROCESSING,
            table.lease_until < clock(),
            table.attempts >= table.max_attempts,
        )
        async with self._sessions() as session:
            jobs = (await session.scalars(abandoned)).all()
        for job in jobs:
            _, work = self._work(job)
            with (
                telemetry.continue_from(job.headers, "job abandoned"),
                contextlib.suppress(LeaseLost),
            ):
                async with self._sessions.begin() as session:
                    await self._bury(session, job, work, "The lease of the last attempt ran out.")
