"""What a consumer gives up on goes to `<consumer>.dlq` as it came: same bytes, same headers.

It travels through the outbox, so that the broker need not answer at that moment. Outbox columns
are text; what is not clean text is written as `base64:…`, an absent value as `null:`.
"""

import base64
from typing import Any

from aiokafka import ConsumerRecord
from prometheus_client import Counter

from shared import outbox, telemetry
from shared.database import Sessions
from shared.ids import new_id

_MARKS = ("base64:", "null:")

log = telemetry.get_logger()
dead_total = Counter("inbox_dead_total", "Messages given up on.", ["topic"])


def as_text(value: bytes | None) -> str:
    """Text that PostgreSQL can hold and from which the exact bytes can be read back."""
    if value is None:
        return "null:"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or text.startswith(_MARKS):
        return "base64:" + base64.b64encode(value).decode()
    return text


def as_bytes(text: str) -> bytes | None:
    """The bytes that `as_text` was given."""
    if text == "null:":
        return None
    if text.startswith("base64:"):
        return base64.b64decode(text.removeprefix("base64:"))
    return text.encode()


async def bury(
    sessions: Sessions,
    consumer: str,
    record: "ConsumerRecord[Any, Any]",
    error: BaseException,
    tries: int,
) -> None:
    """Record the dead letter in a transaction of its own."""
    headers = {as_text(name.encode()): as_text(value) for name, value in record.headers}
    reason = f"{type(error).__name__}: {error}".replace("\0", " ")[:1000]
    position = f"{record.topic}/{record.partition}/{record.offset}"
    headers |= {
        "dead_reason": reason,
        "dead_consumer": consumer,
        "dead_topic": record.topic,
        "dead_partition": str(record.partition),
        "dead_offset": str(record.offset),
        "dead_tries": str(tries),
    }
    async with sessions.begin() as session:
        await outbox.add(
            session,
            new_id(),
            f"dead:{position}",
            f"{consumer}.dlq",
            as_text(record.key),
            record.value or b"",
            headers,
            is_numbered=False,
        )
    dead_total.labels(record.topic).inc()
    log.error(
        "event.dead", topic=record.topic, position=position, tries=tries, error=type(error).__name__
    )
