"""After a commit that leaves work behind, the schema's workers are told by NOTIFY.

The NOTIFY goes over a connection of its own, as often at most as the relay looks: inside the
writing transaction it would take a lock that all commits share. A lost one costs a poll interval,
no more.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import asyncpg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from shared import outages, outbox, telemetry
from shared.settings import ServiceSettings

RECONNECT_SECONDS = 1
APART_SECONDS = 0.016
"""Also between two looks of the relay. Half as long costs relay, broker and consumer a sixth more
per event at 300 events/s: on a small machine they wait for each other then, and the slowest
hundredth is later by a third.
"""

log = telemetry.get_logger()


class Notifier:
    """Sends the wake-ups of this process: `async with Notifier(settings)`."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._url = settings.asyncpg_url
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        sa.event.listen(Session, "after_commit", self._after_commit)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sa.event.remove(Session, "after_commit", self._after_commit)
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def _after_commit(self, session: Session) -> None:
        # The end of a savepoint is announced as a commit too; nobody else sees its rows yet.
        if not session.in_nested_transaction() and session.info.pop(outbox.WAKE, False):
            self.ring()

    def ring(self) -> None:
        """Work has been committed."""
        self._dirty.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._notify()
            except outages.DATABASE as error:
                self._dirty.set()
                log.warning("wakeups.not_sent", reason=type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _notify(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=10)
        try:
            while True:
                await self._dirty.wait()
                # Cleared first: a commit during the NOTIFY asks for another one.
                self._dirty.clear()
                await connection.execute(
                    "SELECT pg_notify(current_schema() || '_work', '')", timeout=10
                )
                await asyncio.sleep(APART_SECONDS)
        finally:
            connection.terminate()


class Listener:
    """Sets every event in `wake` when work may have come."""

    def __init__(self, settings: ServiceSettings, wake: Sequence[asyncio.Event]) -> None:
        self._url = settings.asyncpg_url
        self._wake = wake

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is made anew."""
        while True:
            try:
                await self._listen()
            except outages.DATABASE as error:
                log.warning("wakeups.not_heard", reason=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=10)
        try:
            channel = await connection.fetchval("SELECT current_schema() || '_work'")
            await connection.add_listener(channel, self._ring)
            self._ring()
            while not connection.is_closed():
                await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            connection.terminate()

    def _ring(self, *_: object) -> None:
        for event in self._wake:
            event.set()
