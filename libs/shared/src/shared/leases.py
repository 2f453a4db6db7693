"""A row lease: one holder at a time, replaced when it dies or freezes, told apart by a fence.

A session lock would not do: a frozen process holds it for as long as its connection lives.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from shared import outages

LEASE_SECONDS = 10
RENEW_SECONDS = 3

_CLAIM = f"""
    UPDATE relay_leases SET holder = $2, fence = fence + 1,
        lease_until = clock() + interval '{LEASE_SECONDS} seconds'
    WHERE name = $1
        AND (lease_until IS NULL OR lease_until < clock() OR holder = $2) RETURNING fence
"""  # noqa: S608 - constants of ours
_RENEW = f"""
    UPDATE relay_leases SET lease_until = clock() + interval '{LEASE_SECONDS} seconds'
    WHERE name = $1 AND holder = $2 AND fence = $3 AND lease_until >= clock() RETURNING true
"""  # noqa: S608 - constants of ours
_RELEASE = """
    UPDATE relay_leases SET lease_until = NULL WHERE name = $1 AND holder = $2 AND fence = $3
"""

T = TypeVar("T")


class LeaseLost(Exception):
    """Somebody else holds it now."""


class Lease:
    """A lease and the connection that keeps it, which its holder's tasks may share."""

    def __init__(self, connection: asyncpg.Connection, name: str, holder: UUID) -> None:
        self._connection = connection
        self._busy = asyncio.Lock()
        self._name = name
        self._holder = holder
        self._fence = 0
        self._ends = 0.0

    async def execute(self, statement: str, *values: Any) -> None:
        """Run a statement when the connection is free."""
        async with self._busy:
            await self._connection.execute(statement, *values)

    async def claim(self) -> bool:
        """Take it if it is free, has run out or is our own."""
        asked = time.monotonic()
        fence = await self._connection.fetchval(_CLAIM, self._name, self._holder)
        if fence is None:
            return False
        self._fence, self._ends = fence, asked + LEASE_SECONDS
        return True

    async def keep(self) -> None:
        """Renew it when it is time to.

        Raises:
            LeaseLost: it ran out, for example while this process was frozen.
        """
        asked = time.monotonic()
        if asked < self._ends - LEASE_SECONDS + RENEW_SECONDS:
            return
        async with self._busy:
            renewed = await self._connection.fetchval(_RENEW, self._name, self._holder, self._fence)
        if not renewed:
            raise LeaseLost
        self._ends = asked + LEASE_SECONDS

    async def release(self) -> None:
        """Let the next one have it at once, if the database can be told."""
        with contextlib.suppress(*outages.DATABASE):
            await self._connection.execute(
                _RELEASE, self._name, self._holder, self._fence, timeout=5
            )

    async def within(self, seconds: float, waiting: Awaitable[T]) -> T:
        """Wait for something else, and keep the lease meanwhile.

        Raises:
            TimeoutError: it took longer.
            LeaseLost: the lease ran out.
        """
        task = asyncio.ensure_future(waiting)
        ends = time.monotonic() + seconds
        try:
            while not task.done():
                left = ends - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait({task}, timeout=min(left, RENEW_SECONDS))
                await self.keep()
            return task.result()
        finally:
            task.cancel()
