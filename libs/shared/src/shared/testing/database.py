"""A database of its own for a service's tests: real roles, real migrations, and a clock to move."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, Self

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from shared.database import Sessions
from shared.testing.stack import Stack

KEPT_TABLES = {"alembic_version", "relay_leases"}


def _asyncpg(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+asyncpg://", 1)


class Clock:
    """Replaces the schema's `clock()`, as only its owner can."""

    def __init__(self, owner: asyncpg.Pool) -> None:
        self._owner = owner

    async def freeze(self, moment: datetime) -> None:
        """From now on the clock stands at this moment."""
        await self._define(f"SELECT timestamptz '{moment.isoformat()}'")

    async def advance(self, by: timedelta) -> None:
        """From now on the clock is this much ahead of the real time."""
        await self._define(f"SELECT clock_timestamp() + interval '{by.total_seconds():f} seconds'")

    async def restore(self) -> None:
        await self._define("SELECT clock_timestamp()")

    async def _define(self, body: str) -> None:
        await self._owner.execute(
            "CREATE OR REPLACE FUNCTION clock() RETURNS timestamptz"
            f" LANGUAGE sql VOLATILE AS $${body}$$"
        )


class Database:
    """A service's database in its committed state, through the service's own login."""

    def __init__(self, service: str, stack: Stack, name: str, owner: asyncpg.Pool) -> None:
        self.service = service
        self.app_dsn = stack.app_dsn(service, name)
        self.owner_dsn = stack.owner_dsn(service, name)
        self.clock = Clock(owner)
        self.engine: AsyncEngine = create_async_engine(
            _asyncpg(self.app_dsn), pool_size=20, max_overflow=0
        )
        self.sessions = Sessions(self.engine)
        self._owner = owner

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, service: str, stack: Stack, name: str) -> AsyncIterator[Self]:
        """The migrated database; a connection a query would cost half of a test's time."""
        dsn = stack.owner_dsn(service, name)
        async with asyncpg.create_pool(dsn, min_size=0, max_size=5) as owner:
            database = cls(service, stack, name, owner)
            yield database
            await database.engine.dispose()

    async def truncate(self) -> None:
        """Empty all tables but those that migrations filled."""
        async with self._owner.acquire() as connection:
            names = await connection.fetch(
                "SELECT c.relname FROM pg_class c"
                " WHERE c.relnamespace = current_schema()::regnamespace"
                " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
                # Their rows came with a migration.
                " AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM 'seeded'"
            )
            tables = [row["relname"] for row in names if row["relname"] not in KEPT_TABLES]
            # Emptying what is empty takes most of the time.
            is_filled = "SELECT '{0}' WHERE EXISTS (SELECT FROM {0})"
            filled = await connection.fetch(" UNION ALL ".join(map(is_filled.format, tables)))
            if filled:
                await connection.execute(f"TRUNCATE {', '.join(row[0] for row in filled)} CASCADE")
            await connection.execute(
                "UPDATE relay_leases SET holder = NULL, lease_until = NULL WHERE holder IS NOT NULL"
            )

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What a query over the owner's login finds."""
        return [dict(row) for row in await self._owner.fetch(query, *values)]

    async def one(self, query: str, *values: Any) -> dict[str, Any]:
        [row] = await self.rows(query, *values)
        return row


def database_for(service: str) -> tuple[Callable[..., Any], ...]:
    """The fixtures of a service's conftest: `server`, `database`, `session`, `clock`.

    ```
    server, database, session, clock = database_for("escrow")
    ```
    """
    name = f"test_{service}"

    @pytest.fixture(scope="session", name="server")
    async def server(postgres_server: Stack) -> AsyncIterator[Database]:
        """The migrated database, whatever is in it."""
        postgres_server.command("migrate", "--database", name, "--service", service)
        async with Database.opened(service, postgres_server, name) as opened:
            yield opened

    @pytest.fixture(name="database")
    async def database(server: Database) -> AsyncIterator[Database]:
        """An empty database; what tests commit is seen by all connections."""
        await server.truncate()
        yield server
        await server.clock.restore()

    @pytest.fixture(name="session")
    async def session(server: Database) -> AsyncIterator[AsyncSession]:
        """A session inside a transaction that is rolled back at the end."""
        async with server.engine.connect() as connection:
            outer = await connection.begin()
            async with AsyncSession(
                connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            ) as inner:
                yield inner
            await outer.rollback()

    @pytest.fixture(name="clock")
    def clock(database: Database) -> Clock:
        return database.clock

    return server, database, session, clock


@contextlib.asynccontextmanager
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A raw connection of one's own, for races and for acting as another role."""
    opened = await asyncpg.connect(dsn)
    try:
        yield opened
    finally:
        await opened.close()
