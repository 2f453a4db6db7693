"""Events as another service would have sent them."""

from datetime import UTC, datetime

from shared.events import Envelope, Event
from shared.ids import new_id


def headers_of(event: Event, *, sequence: int | None = None) -> dict[str, str]:
    """The headers an event travels under, with an id of its own.

    `sequence` is the aggregate's number; its row version unless given.
    """
    return Envelope(
        event_id=new_id(),
        type=event.topic,
        source=event.source,
        subject=event.aggregate_id,
        time=datetime.now(UTC),
        sequence=event.version if sequence is None else sequence,
        correlation_id=event.correlation_id,
    ).headers()
