"""What tests of all services share: the real stack, a database of one's own, tokens, waiting."""

from shared.testing.database import Clock, Database, connection, database_for
from shared.testing.messages import headers_of
from shared.testing.ports import free_port
from shared.testing.stack import Stack, fetch
from shared.testing.waiting import eventually

__all__ = [
    "Clock",
    "Database",
    "Stack",
    "connection",
    "database_for",
    "eventually",
    "fetch",
    "free_port",
    "headers_of",
]
