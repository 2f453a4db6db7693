"""What is nobody's fault but an outage of ours: it is waited out, never counted as a failure."""

import asyncpg
import sqlalchemy as sa
from aiokafka.errors import KafkaError

DATABASE = (
    OSError,
    TimeoutError,
    sa.exc.DBAPIError,
    sa.exc.TimeoutError,
    asyncpg.PostgresError,  # a connection that is refused while the server starts or stops
    asyncpg.InterfaceError,
)
"""What a loop over the database survives: it logs, waits and asks again."""

_PASSING_STATES = ("08", "40", "53", "55P03", "57", "58")
"""Connection lost, serialization failure and deadlock, resources, lock not available, server
shutting down or statement cancelled, disk."""


def is_outage(error: BaseException) -> bool:
    """Whether the same work may succeed later with nothing changed.

    A statement that the database refused for what it says (a constraint, a missing table) is not.
    """
    if isinstance(error, sa.exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return error.connection_invalidated or not state or state.startswith(_PASSING_STATES)
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate).startswith(_PASSING_STATES)
    return isinstance(
        error, (OSError, TimeoutError, KafkaError, sa.exc.TimeoutError, asyncpg.InterfaceError)
    )
