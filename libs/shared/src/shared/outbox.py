"""An event is a row written in the transaction of the change it announces; `relay` publishes it.

`record` goes through the caller's session and never commits. A number per aggregate, taken under
a row lock, makes sequence order the order of the commits.
"""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared import audit, telemetry
from shared.database import Model, driver
from shared.events import Event
from shared.events.envelope import unnumbered_headers
from shared.ids import new_id

WAKE = "wake_workers"
"""Key in `session.info`: this transaction leaves work behind, so workers are worth waking."""


class OutboxMessage(Model):
    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    event_id: Mapped[UUID] = mapped_column(unique=True)
    aggregate_id: Mapped[str]
    sequence: Mapped[int]
    topic: Mapped[str]
    key: Mapped[str]
    payload: Mapped[bytes]
    """The exact bytes of the message."""
    headers: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    published_at: Mapped[datetime | None]


class OutboxSequence(Model):
    """The last number given to each aggregate; it outlives the published rows."""

    __tablename__ = "outbox_sequences"

    aggregate_id: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[int]


_ADD = """
WITH numbered AS (
    INSERT INTO outbox_sequences (aggregate_id, last) VALUES ($2, 1)
    ON CONFLICT (aggregate_id) DO UPDATE SET last = outbox_sequences.last + 1
    RETURNING last, to_char(clock() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time
)
INSERT INTO outbox (event_id, aggregate_id, sequence, topic, key, payload, headers)
SELECT $1, $2, last, $3, $4, $5,
    $6::jsonb || CASE WHEN $7
        THEN jsonb_build_object('ce_sequence', last::text, 'ce_time', time) ELSE '{}' END
FROM numbered
"""
"""One statement, for one round trip. The aggregate's number stays locked until the commit."""


async def record(session: AsyncSession, event: Event) -> UUID:
    """Add the event to the caller's transaction; returns its event id."""
    event_id = new_id()
    headers = unnumbered_headers(
        event_id=event_id,
        type=event.topic,
        source=event.source,
        subject=event.aggregate_id,
        traceparent=telemetry.current_traceparent(),
        correlation_id=event.correlation_id
        or telemetry.correlation_id.get()
        or audit.origin.get().request_id,
    )
    payload = event.model_dump_json().encode()
    await add(session, event_id, event.aggregate_id, event.topic, event.key, payload, headers)
    return event_id


async def add(
    session: AsyncSession,
    event_id: UUID,
    aggregate_id: str,
    topic: str,
    key: str,
    payload: bytes,
    headers: dict[str, str],
    *,
    is_numbered: bool = True,
) -> None:
    """Insert one outbox row; events go through `record`.

    `is_numbered` gives the headers the aggregate's next number and the time; a dead letter keeps
    those that it came with.
    """
    await (await driver(session)).execute(
        _ADD, event_id, aggregate_id, topic, key, payload, json.dumps(headers), is_numbered
    )
    session.info[WAKE] = True
