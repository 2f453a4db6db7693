"""The database clock decides deadlines, leases and expiries; tests replace `clock()` as owner."""

from datetime import datetime

from sqlalchemy import DateTime, func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.functions import FunctionElement

from shared.database import driver


def clock() -> FunctionElement[datetime]:
    """The schema's own `clock()`, for use inside statements."""
    return func.clock(type_=DateTime(timezone=True))


async def now(session: AsyncSession) -> datetime:
    """The time by the database clock; unlike `now()` it goes on inside a transaction."""
    value: datetime = await (await driver(session)).fetchval("SELECT clock()")
    return value
