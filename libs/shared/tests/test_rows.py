"""A lone change and a lock go past the unit of work, and only the time they take tells."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.orm.exc import StaleDataError

from shared import database
from shared.clock import clock
from shared.database import Model, Sessions, driver, text_enum
from shared.testing.waiting import eventually

_TABLE = """
DROP TABLE IF EXISTS parcels CASCADE;
CREATE TABLE parcels (
    id uuid PRIMARY KEY, state text NOT NULL, labels jsonb, sent_to uuid, sent_at timestamptz,
    "weight" bigint NOT NULL, note text, seal bytea, updated_at timestamptz NOT NULL DEFAULT clock()
);
DROP TABLE IF EXISTS receipts;
CREATE TABLE receipts (id uuid PRIMARY KEY, parcel_id uuid REFERENCES parcels);
GRANT SELECT, INSERT, UPDATE, DELETE ON parcels, receipts TO probe_app;
"""


class State(StrEnum):
    PACKED = "packed"
    SENT = "sent"


class Parcel(Model):
    __tablename__ = "parcels"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[State] = mapped_column(text_enum(State))
    labels: Mapped[dict[str, Any] | None]
    sent_to: Mapped[UUID | None]
    sent_at: Mapped[datetime | None]
    grams: Mapped[int] = mapped_column("weight")
    note: Mapped[str | None]
    seal: Mapped[bytes | None] = mapped_column(sa.LargeBinary)
    updated_at: Mapped[datetime] = mapped_column(default=clock(), onupdate=clock())


class Receipt(Model):
    __tablename__ = "receipts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    parcel_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("parcels.id"))
    parcel: Mapped[Parcel | None] = relationship()


COLUMNS = [name for name in sa.inspect(Parcel).column_attrs.keys() if name != "updated_at"]  # noqa: SIM118


@pytest.fixture
async def parcel_id(owner: asyncpg.Connection, sessions: Sessions) -> UUID:
    await owner.execute(_TABLE)
    return await add(sessions, uuid4())


@pytest.fixture
async def other(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """A session that is SQLAlchemy's own."""
    async with AsyncSession(sessions.engine, expire_on_commit=False) as session:
        yield session


async def add(sessions: Sessions, parcel_id: UUID) -> UUID:
    async with sessions.begin() as session:
        session.add(Parcel(id=parcel_id, state=State.PACKED, grams=1, labels={"to": "Sasha"}))
    return parcel_id


async def found(session: AsyncSession, parcel_id: UUID) -> Parcel:
    return (await session.scalars(sa.select(Parcel).where(Parcel.id == parcel_id))).one()


def values(parcel: Parcel) -> dict[str, Any]:
    return {name: getattr(parcel, name) for name in COLUMNS if name != "id"}


async def stored(owner: asyncpg.Connection, parcel_id: UUID) -> dict[str, Any]:
    row = await owner.fetchrow("SELECT * FROM parcels WHERE id = $1", parcel_id)
    assert row is not None
    return {name: value for name, value in row.items() if name not in {"id", "updated_at"}}


@pytest.mark.parametrize(
    "change",
    [
        {"state": State.SENT},
        {"labels": {"to": "Blair", "lines": [1, None, "ü"]}},
        {"labels": None},
        {"sent_to": UUID(int=7), "sent_at": datetime(2026, 11, 27, tzinfo=UTC)},
        {"grams": 2**40, "note": "fragile 'glass' $1", "seal": b"\x00\xff"},
    ],
    ids="+".join,
)
async def test_a_change_is_written_and_read_as_sqlalchemy_does(
    owner: asyncpg.Connection,
    sessions: Sessions,
    other: AsyncSession,
    parcel_id: UUID,
    change: dict[str, Any],
) -> None:
    twin_id = await add(sessions, uuid4())
    twin = await found(other, twin_id)
    async with sessions.begin() as session:
        parcel = await found(session, parcel_id)
        before = parcel.updated_at
        for name, value in change.items():
            setattr(parcel, name, value)
            setattr(twin, name, value)
        await session.flush()
        assert parcel not in session.dirty
        assert parcel.updated_at > before
    await other.commit()
    assert await stored(owner, parcel_id) == await stored(owner, twin_id)
    assert parcel.updated_at == await owner.fetchval(
        "SELECT updated_at FROM parcels WHERE id = $1", parcel_id
    )
    async with sessions.begin() as session:
        locked = await database.lock(session, Parcel, parcel_id)
        assert locked is not None
        assert values(locked) == values(await found(other, twin_id)) == values(twin)


async def test_a_value_set_to_what_it_was_is_not_written(
    sessions: Sessions, parcel_id: UUID
) -> None:
    async with sessions.begin() as session:
        parcel = await found(session, parcel_id)
        before = parcel.updated_at
        parcel.grams, parcel.note = 1, None
        await session.flush()
        assert parcel not in session.dirty
        assert parcel.updated_at == before


async def test_an_expression_is_left_to_the_database(sessions: Sessions, parcel_id: UUID) -> None:
    async with sessions.begin() as session:
        parcel = await found(session, parcel_id)
        parcel.grams, parcel.sent_at = 3, clock()
        await session.flush()
        await session.refresh(parcel)
        assert parcel.grams == 3
        assert parcel.sent_at is not None


async def test_a_related_row_is_left_to_the_unit_of_work(
    owner: asyncpg.Connection, sessions: Sessions, parcel_id: UUID
) -> None:
    receipt_id = uuid4()
    async with sessions.begin() as session:
        session.add(Receipt(id=receipt_id))
    async with sessions.begin() as session:
        receipt = await database.lock(session, Receipt, receipt_id)
        assert receipt is not None
        receipt.parcel = await found(session, parcel_id)
    assert await owner.fetchval("SELECT parcel_id FROM receipts") == parcel_id


async def test_a_savepoint_takes_the_change_back(
    owner: asyncpg.Connection, sessions: Sessions, parcel_id: UUID
) -> None:
    async with sessions.begin() as session:
        parcel = await found(session, parcel_id)
        async with session.begin_nested() as savepoint:
            parcel.grams = 5
            await session.flush()
            await savepoint.rollback()
        await session.refresh(parcel)
        assert parcel.grams == 1
        parcel.note = "kept"
    assert (await stored(owner, parcel_id))["weight"] == 1
    assert (await stored(owner, parcel_id))["note"] == "kept"


async def test_a_row_that_is_gone_cannot_be_changed(
    owner: asyncpg.Connection, sessions: Sessions, parcel_id: UUID
) -> None:
    async def change() -> None:
        async with sessions.begin() as session:
            parcel = await found(session, parcel_id)
            await owner.execute("DELETE FROM parcels")
            parcel.grams = 2

    with pytest.raises(StaleDataError):
        await change()


async def test_two_changed_rows_are_both_written(
    owner: asyncpg.Connection, sessions: Sessions, parcel_id: UUID
) -> None:
    second_id = await add(sessions, uuid4())
    async with sessions.begin() as session:
        for one in (parcel_id, second_id):
            (await found(session, one)).grams = 9
    assert [row["weight"] for row in await owner.fetch("SELECT weight FROM parcels")] == [9, 9]


async def test_a_lock_waits_and_then_reads_what_was_committed(
    sessions: Sessions, parcel_id: UUID
) -> None:
    async def note_after_lock() -> tuple[bool, str | None]:
        async with sessions.begin() as session:
            known = await found(session, parcel_id)
            locked = await database.lock(session, Parcel, parcel_id)
            return locked is known, known.note

    async with sessions.begin() as session:
        parcel = await database.lock(session, Parcel, parcel_id)
        assert parcel is not None
        waiting = asyncio.create_task(note_after_lock())
        await eventually(lambda: _assert_somebody_waits(session))
        parcel.note = "first"
    assert await waiting == (True, "first")


async def _assert_somebody_waits(session: AsyncSession) -> None:
    pending = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
    assert await (await driver(session)).fetchval(pending)


async def test_a_lock_keeps_what_was_not_flushed_yet(sessions: Sessions, parcel_id: UUID) -> None:
    async with sessions.begin() as session:
        parcel = await database.lock(session, Parcel, parcel_id)
        assert parcel is not None
        parcel.note = "before"
        assert await database.lock(session, Parcel, parcel_id) is parcel
        assert parcel.note == "before"


async def test_there_is_no_lock_of_nothing(sessions: Sessions, parcel_id: UUID) -> None:
    async with sessions.begin() as session:
        assert await database.lock(session, Parcel, uuid4()) is None
        assert await database.lock(session, Parcel, parcel_id) is not None
