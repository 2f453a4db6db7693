"""The driver's own connection speaks within the session's transaction, however that ends."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared import outages
from shared.audit import AuditLog
from shared.database import Sessions, driver

_INSERT = """
INSERT INTO audit_logs (id, action, subject_type, subject_id, details)
VALUES ($1, 'said.directly', 'thing', $2, '{}')
"""


class Aborted(Exception):
    """Ends a transaction."""


Say = Callable[[AsyncSession, str], Awaitable[None]]


@pytest.fixture
def subject() -> str:
    return str(uuid4())


async def say_directly(session: AsyncSession, subject: str) -> None:
    await (await driver(session)).execute(_INSERT, uuid4(), subject)


async def say_by_the_session(session: AsyncSession, subject: str) -> None:
    session.add(
        AuditLog(action="said.by_session", subject_type="thing", subject_id=subject, details={})
    )
    await session.flush()


async def abort(_session: AsyncSession, _subject: str) -> None:
    raise Aborted


async def actions(sessions: Sessions, subject: str) -> list[str]:
    async with sessions.begin() as session:
        said = sa.select(AuditLog.action).where(AuditLog.subject_id == subject)
        return sorted(await session.scalars(said))


async def carry_out(sessions: Sessions, subject: str, says: tuple[Say, ...]) -> None:
    async with sessions.begin() as session:
        for say in says:
            await say(session, subject)


@pytest.mark.parametrize(
    "says", [(say_directly, say_by_the_session), (say_by_the_session, say_directly)]
)
async def test_both_are_kept_or_neither(
    sessions: Sessions, subject: str, says: tuple[Say, ...]
) -> None:
    with pytest.raises(Aborted):
        await carry_out(sessions, subject, (*says, abort))
    assert await actions(sessions, subject) == []
    await carry_out(sessions, subject, says)
    assert await actions(sessions, subject) == ["said.by_session", "said.directly"]


async def test_each_transaction_of_a_session_begins_anew(sessions: Sessions, subject: str) -> None:
    async with sessions() as session:
        await say_directly(session, subject)
        await session.rollback()
        await say_directly(session, subject)
        await session.commit()
        await say_directly(session, subject)
    assert await actions(sessions, subject) == ["said.directly"]


async def test_a_savepoint_takes_back_what_the_driver_said(
    sessions: Sessions, subject: str
) -> None:
    async def say_in_vain(session: AsyncSession, subject: str) -> None:
        async with session.begin_nested() as savepoint:
            await say_directly(session, subject)
            await savepoint.rollback()

    await carry_out(sessions, subject, (say_directly, say_in_vain))
    assert await actions(sessions, subject) == ["said.directly"]


async def test_a_refused_statement_leaves_nothing_and_is_no_outage(
    sessions: Sessions, subject: str
) -> None:
    same = uuid4()

    async def say_under_one_id(session: AsyncSession, subject: str) -> None:
        await (await driver(session)).execute(_INSERT, same, subject)

    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await carry_out(sessions, subject, (say_under_one_id, say_under_one_id))
    assert not outages.is_outage(refused.value)
    assert await actions(sessions, subject) == []


async def test_a_connection_that_is_lost_is_an_outage_and_not_used_again(
    sessions: Sessions, subject: str
) -> None:
    async def lose_connection(session: AsyncSession, _subject: str) -> None:
        backend = await (await driver(session)).fetchval("SELECT pg_backend_pid()")
        async with sessions.begin() as other:
            await (await driver(other)).execute("SELECT pg_terminate_backend($1)", backend)

    with pytest.raises(outages.DATABASE) as lost:
        await carry_out(sessions, subject, (say_directly, lose_connection, say_directly))
    assert outages.is_outage(lost.value)
    await carry_out(sessions, subject, (say_directly,))
    assert await actions(sessions, subject) == ["said.directly"]
