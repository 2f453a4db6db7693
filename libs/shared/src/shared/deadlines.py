"""Every waiting state has a due time, a row written in the transaction that enters the state.

The ticker locks the aggregate first, then the deadline (the other order deadlocks with commands),
and looks at the database clock only after it holds both.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared import crash, outages, telemetry
from shared.clock import clock
from shared.database import Model, Sessions, driver

TICK_SECONDS = 1
BATCH = 200

log = telemetry.get_logger()


class Deadline(Model):
    __tablename__ = "deadlines"

    aggregate_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


_SET = """
INSERT INTO deadlines (aggregate_id, kind, due_at) VALUES ($1, $2, $3)
ON CONFLICT (aggregate_id, kind) DO UPDATE SET due_at = excluded.due_at, done_at = NULL
"""
_CLEAR = """
UPDATE deadlines SET done_at = clock() WHERE aggregate_id = $1 AND kind = $2 AND done_at IS NULL
"""


async def set(  # noqa: A001 - `deadlines.set` reads as it is meant
    session: AsyncSession, aggregate_id: UUID, kind: str, due_at: datetime
) -> None:
    """The aggregate has until `due_at`; an earlier deadline of this kind is replaced."""
    await (await driver(session)).execute(_SET, aggregate_id, kind, due_at)


async def clear(session: AsyncSession, aggregate_id: UUID, kind: str) -> None:
    """The state was left in time."""
    await (await driver(session)).execute(_CLEAR, aggregate_id, kind)


@dataclass(frozen=True)
class Expiry:
    """What a deadline of one kind does."""

    lock: Callable[[AsyncSession, UUID], Awaitable[Any]]
    """Loads and locks the aggregate."""
    expire: Callable[[AsyncSession, Any], Awaitable[None]]
    """Decides by the lifecycle; does nothing when the state has moved on."""


class DeadlineTicker:
    """Expires what is due; any number of tickers may run."""

    def __init__(self, sessions: Sessions, expiries: Mapping[str, Expiry]) -> None:
        self._sessions = sessions
        self._expiries = dict(expiries)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Tick until stopped; a failing database is waited for."""
        while not self._stopping.is_set():
            try:
                done = await self.tick()
            except outages.DATABASE as error:
                log.warning("deadlines.database_refused", reason=type(error).__name__)
                done = 0
            if done < BATCH:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)

    def stop(self) -> None:
        """Let `run` end after the deadlines in hand."""
        self._stopping.set()

    async def tick(self) -> int:
        """Expire everything due now; returns how many deadlines were done."""
        due = (
            sa.select(Deadline.aggregate_id, Deadline.kind)
            .where(Deadline.done_at.is_(None), Deadline.due_at <= clock())
            .where(Deadline.kind.in_(self._expiries))
            .order_by(Deadline.due_at)
            .limit(BATCH)
        )
        async with self._sessions() as session:
            found = (await session.execute(due)).all()
        crash.point("sched.after_select")
        done = 0
        for aggregate_id, kind in found:
            if self._stopping.is_set():
                break
            try:
                done += await self._expire(aggregate_id, kind)
            except Exception as error:
                if outages.is_outage(error):
                    raise
                log.exception("deadline.failed", kind=kind, aggregate_id=str(aggregate_id))
        return done

    async def _expire(self, aggregate_id: UUID, kind: str) -> bool:
        expiry = self._expiries[kind]
        async with self._sessions.begin() as session:
            aggregate = await expiry.lock(session, aggregate_id)
            still_due = await session.scalar(
                sa.update(Deadline)
                .where(Deadline.aggregate_id == aggregate_id, Deadline.kind == kind)
                .where(Deadline.done_at.is_(None), Deadline.due_at <= clock())
                .values(done_at=clock())
                .returning(Deadline.aggregate_id)
            )
            if still_due is None:
                return False
            await expiry.expire(session, aggregate)
        crash.point("sched.after_commit")
        return True
