"""Jobs as rows: asked for in the transaction that needs them, described by `Work`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from shared import outbox, telemetry
from shared.clock import clock
from shared.database import Model, text_enum
from shared.ids import new_id


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
