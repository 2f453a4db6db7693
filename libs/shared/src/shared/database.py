"""One engine a process, one transaction a use case; tables are named without a schema because each
login's search_path is its own schema and nothing else.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Session

from shared import rows
from shared.settings import ServiceSettings

POOL_CONNECTIONS = 5
STATEMENT_TIMEOUT_MS = 15_000


def text_enum(enum: type[StrEnum]) -> sa.Enum:
    """An enum stored by value with a CHECK; no PostgreSQL type that would need migrating."""
    return sa.Enum(
        enum,
        native_enum=False,
        create_constraint=True,
        length=40,
        values_callable=lambda members: [member.value for member in members],
    )


_TABLES: defaultdict[str, sa.MetaData] = defaultdict(sa.MetaData)


class Model(DeclarativeBase):
    """Base of every mapped table. `Mapped[SomeStrEnum]` needs `text_enum` in its column."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: sa.DateTime(timezone=True),
        UUID: sa.Uuid,
        int: sa.BigInteger,
        str: sa.Text,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }

    def __init_subclass__(cls, **options: Any) -> None:
        """Gives each package tables of its own: two services may both have `users`, and a test
        run imports them all.
        """
        if DeclarativeBase not in cls.__bases__:
            cls.metadata = _TABLES[cls.__module__.partition(".")[0]]
        super().__init_subclass__(**options)


_ADAPTER = "adapter"
"""Key in `session.info`: a transaction and SQLAlchemy's hold of its connection."""


class _Session(AsyncSession):
    """A lone changed row is flushed by one plain statement: the unit of work costs ten of them."""

    async def flush(self, objects: Sequence[Any] | None = None) -> None:
        held = self.sync_session
        changed = list(held.dirty)
        # A savepoint that is rolled back must find what was written in it.
        is_nested = held.in_nested_transaction()
        is_more = objects or held.new or held.deleted or len(changed) > 1 or is_nested
        if is_more or (changed and not await rows.update(await driver(self), held, changed[0])):
            await super().flush(objects)


class Sessions:
    """Makes the sessions of one engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    def __call__(self) -> AsyncSession:
        return _Session(self.engine, expire_on_commit=False)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """A session whose transaction is committed at the end; any exception rolls it back."""
        session = self()
        try:
            yield session
            await _commit(session)
        except BaseException:
            # A cancelled task too gives its connection back before it ends.
            await asyncio.shield(asyncio.ensure_future(session.close()))
            raise


def create_engine(settings: ServiceSettings) -> AsyncEngine:
    """The process's engine: 5 connections and no overflow, none that the server has closed."""
    engine = create_async_engine(
        settings.sqlalchemy_url,
        pool_size=POOL_CONNECTIONS,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,
        connect_args={
            "server_settings": {
                "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                "idle_in_transaction_session_timeout": "30000",
            }
        },
    )
    sa.event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Instead of `pool_pre_ping`, which costs three round trips a transaction: a server that stops
    closes its connections, and asyncpg knows. The pool then makes a new one.
    """
    if connection.driver_connection.is_closed():
        raise sa.exc.DisconnectionError


async def driver(session: AsyncSession) -> asyncpg.Connection:
    """The driver's own connection, within the session's transaction.

    For what nearly every transaction says and is said once, as text: claim, key, event, audit row,
    deadline. SQLAlchemy's share of such a statement is several times the statement itself. Rows
    that the session has not flushed stay unflushed.
    """
    driven: asyncpg.Connection = (await _adapter(session)).driver_connection
    return driven


async def lock(session: AsyncSession, kind: type[rows.Row], identity: UUID) -> rows.Row | None:
    """The row of this id as it is now, locked until the commit; None when there is none."""
    await session.flush()
    return await rows.lock(await driver(session), session.sync_session, kind, (identity,))


async def _adapter(session: AsyncSession) -> Any:
    """SQLAlchemy's hold of the connection, which knows the driver's transaction."""
    known = session.info.get(_ADAPTER)
    if known is not None and known[0] is _innermost(session):
        return known[1]
    connection = await session.run_sync(Session.connection)
    adapter: Any = connection.connection.dbapi_connection
    if adapter._transaction is None:  # noqa: SLF001 - it would begin with its own first statement
        begun = adapter.driver_connection.transaction()
        await begun.start()
        adapter._transaction = begun  # noqa: SLF001 - SQLAlchemy rolls it back, `_commit` commits it
    session.info[_ADAPTER] = _innermost(session), adapter
    return adapter


async def _commit(session: AsyncSession) -> None:
    """Commit and give the connection back.

    COMMIT is said to the driver, and SQLAlchemy then finds nothing left to say: its own way there
    costs several times the statement. Without an answer nobody knows what became of it, and the
    connection is closed.
    """
    await session.flush()
    held = session.sync_session
    if held.in_transaction():
        adapter = await _adapter(session)
        begun, adapter._transaction = adapter._transaction, None  # noqa: SLF001
        try:
            await begun.commit()
        except BaseException:
            await session.invalidate()
            raise
        held.commit()
    held.close()


def _innermost(session: AsyncSession) -> object:
    """A savepoint is made when the session is first asked for its connection within it."""
    within = session.sync_session
    return within.get_nested_transaction() or within.get_transaction()
