"""An event is a row written in the transaction of the change it announces; `relay` publishes it.

`record` goes through the caller's session and never commits. A number per aggregate, taken under
a row lock, makes sequence order the order of the commits.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared import audit, clock, telemetry
from shared.database import Model
from shared.events import Envelope, Event
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


async def next_sequence(session: AsyncSession, aggregate_id: str) -> int:
    """The aggregate's next number; its row stays locked until the commit."""
    numbered = (
        insert(OutboxSequence)
        .values(aggregate_id=aggregate_id, last=1)
        .on_conflict_do_update(
            index_elements=[OutboxSequence.aggregate_id], set_={"last": OutboxSequence.last + 1}
        )
        .returning(OutboxSequence.last)
    )
    return (await session.execute(numbered)).scalar_one()


async def record(session: AsyncSession, event: Event) -> UUID:
    """Add the event to the caller's transaction; returns its event id."""
    event_id = new_id()
    envelope = Envelope(
        event_id=event_id,
        type=event.topic,
        source=event.source,
        subject=event.aggregate_id,
        time=await clock.now(session),
        sequence=await next_sequence(session, event.aggregate_id),
        traceparent=telemetry.current_traceparent(),
        correlation_id=event.correlation_id
        or telemetry.correlation_id.get()
        or audit.origin.get().request_id,
    )
    await add(
        session,
        event_id=event_id,
        aggregate_id=event.aggregate_id,
        sequence=envelope.sequence,
        topic=event.topic,
        key=event.key,
        payload=event.model_dump_json().encode(),
        headers=envelope.headers(),
    )
    return event_id


async def add(session: AsyncSession, **columns: Any) -> None:
    """Insert one outbox row as it is; dead letters use this, events go through `record`."""
    await session.execute(sa.insert(OutboxMessage).values(**columns))
    session.info[WAKE] = True
