"""Takes due jobs: no transaction is open while a job is performed. What it found out is written in
one transaction together with COMPLETED, and only if nobody has claimed the job since. The outside
cannot check our fence, so it is called under keys that stay the same.
"""

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic

import sqlalchemy as sa
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncSession

from shared import outages, telemetry
from shared.clock import clock
from shared.database import Sessions
from shared.jobs.table import Finish, J, Job, JobStatus, Postpone, Work

LEASE_SECONDS = 10
HEARTBEAT_SECONDS = 3
POLL_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 300

log = telemetry.get_logger()
attempts_total = Counter("job_attempts_total", "Attempts by outcome.", ["kind", "outcome"])
oldest_due_seconds = Gauge(
    "job_oldest_due_seconds", "How long the oldest due job has been waiting.", ["table"]
)


class LeaseLost(Exception):
    """The job is no longer ours; nothing may be written to it."""


class JobRunner(Generic[J]):
    """Takes due jobs of one table, one at a time; run as many as you like."""

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
        self._next = self._claiming()
        self._is_stopping = False
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Work until stopped; a failing database is waited for."""
        while not self._is_stopping:
            self.wake.clear()
            try:
                has_worked = await self.run_one()
            except outages.DATABASE as error:
                log.warning("job.database_refused", reason=type(error).__name__)
                has_worked = False
            if not has_worked and not self._is_stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), POLL_SECONDS)

    def stop(self) -> None:
        """Let `run` end after the job in hand."""
        self._is_stopping = True
        self.wake.set()

    async def run_one(self) -> bool:
        """Do or give up one due job; False when none was due."""
        job = await self._claim()
        if job is None:
            return False
        if job.attempts <= job.max_attempts:
            await self._do(job)
        else:
            # Whoever made the last attempt has vanished.
            _, work = self._work(job)
            with telemetry.continue_from(job.headers, "job abandoned"):
                await self._bury(job, work, "The lease of the last attempt ran out.")
        return True

    async def measure(self) -> None:
        """Set the gauge of this table."""
        table = self._table
        waited = sa.select(sa.extract("epoch", clock() - sa.func.min(table.run_at))).where(
            table.status == JobStatus.PENDING, table.run_at <= clock(), self._is_ours()
        )
        async with self._sessions() as session:
            seconds = await session.scalar(waited)
        oldest_due_seconds.labels(self._table_name).set(float(seconds or 0))

    @property
    def _table_name(self) -> str:
        return str(self._table.__tablename__)  # type: ignore[attr-defined] # every model has it

    def _work(self, job: J) -> tuple[str, Work[J]]:
        if isinstance(self._works, Work):
            return self._table_name, self._works
        assert isinstance(job, Job)
        return job.kind, self._works[job.kind]

    def _is_ours(self) -> sa.ColumnElement[bool]:
        """Leaves the kinds that only a newer or older version of the service knows to it."""
        if isinstance(self._works, Work):
            return sa.true()
        return Job.kind.in_(self._works)

    def _claiming(self) -> Any:
        """Takes the job that has been due for longest; built once, for it is asked all the time."""
        table = self._table
        due = (
            sa.select(table.id)
            .where(
                table.run_at <= clock(),
                sa.or_(
                    table.status == JobStatus.PENDING,
                    sa.and_(table.status == JobStatus.PROCESSING, table.lease_until < clock()),
                ),
                self._is_ours(),
            )
            .order_by(table.run_at)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        return (
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

    async def _claim(self) -> J | None:
        async with self._sessions.begin() as session:
            return (await session.execute(self._next)).scalar_one_or_none()

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
                attempts_total.labels(kind, "postponed").inc()
                await self._release(job, later.seconds, error=None, attempts=job.attempts - 1)
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
            except outages.DATABASE:
                continue  # the fence decides at the end

    async def _at_fence(self, session: AsyncSession, job: J, **values: Any) -> None:
        """Write to the job, if it is still ours.

        Raises:
            LeaseLost: it is not. The status counts as well as the fence: after a commit whose
                answer was lost the job is COMPLETED at our own fence.
        """
        table = self._table
        written = await session.execute(
            sa.update(table)
            .where(
                table.id == job.id,
                table.fence == job.fence,
                table.status == JobStatus.PROCESSING,
            )
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
            delay_seconds = self._delay_seconds(job.attempts)
            await self._release(job, delay_seconds, error=error, attempts=job.attempts)
        else:
            await self._bury(job, work, error)

    async def _bury(self, job: J, work: Work[J], error: str) -> None:
        """FAILED and its consequence in one transaction; if that fails, it is tried again when
        the lease has run out.
        """
        kind, _ = self._work(job)
        try:
            async with self._sessions.begin() as session:
                await work.give_up(session, job, error)
                await self._at_fence(
                    session,
                    job,
                    status=JobStatus.FAILED,
                    lease_until=None,
                    last_error=error,
                    attempts=job.max_attempts,
                )
        except LeaseLost:
            return
        except outages.DATABASE:
            raise
        except Exception as failure:
            log.exception("job.not_given_up", kind=kind, job_id=str(job.id), exc_info=failure)
            return
        attempts_total.labels(kind, "given_up").inc()
        log.error("job.given_up", kind=kind, job_id=str(job.id), error=error)

    async def _release(self, job: J, seconds: float, *, error: str | None, attempts: int) -> None:
        with contextlib.suppress(LeaseLost):
            async with self._sessions.begin() as session:
                await self._at_fence(
                    session,
                    job,
                    status=JobStatus.PENDING,
                    run_at=clock() + timedelta(seconds=seconds),
                    lease_until=None,
                    last_error=error,
                    attempts=attempts,
                )

    def _delay_seconds(self, attempts: int) -> float:
        if self._delays is not None:
            return self._delays[min(attempts, len(self._delays)) - 1]
        return random.uniform(0, min(LONGEST_BACKOFF_SECONDS, 2**attempts))  # noqa: S311 - jitter
