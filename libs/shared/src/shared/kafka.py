"""The broker as services see it: one subscriber each, over the facts they listen to.

The subscriber hands every batch to its lanes, which settle and commit; FastStream's own commit
would be of what was taken, not of what was handled.
"""

import itertools
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage
from faststream.message import StreamMessage
from faststream.security import SASLScram512

from shared.consuming import (
    Flow,
    Handler,
    Record,
    Settling,
    current_envelope,
    current_session,
)
from shared.database import Sessions
from shared.events import Event
from shared.lanes import Lanes
from shared.settings import ServiceSettings

__all__ = [
    "Facts",
    "Flow",
    "assert_safe",
    "create_broker",
    "current_envelope",
    "current_session",
    "facts",
    "is_a",
    "security",
]

BATCH_MESSAGES = 500
PARTITION_BYTES = 64 * 1024
"""What one fetch brings of a partition, so that a backlog in one does not fill the batch."""
FETCH_WAIT_MS = 200
"""A fetch asks for the partitions that are empty when it begins; the others wait until it ends."""
IDLE_MS = 1000
STOP_WITHIN_SECONDS = 15

H = TypeVar("H", bound=Handler)


@dataclass(frozen=True)
class IsA:
    event: type[Event]


def is_a(event: type[Event]) -> IsA:
    """The filter that gives a handler this kind of fact and no other."""
    return IsA(event)


class Facts:
    """The one subscriber of a service: `@facts(filter=is_a(Event))` adds a handler to it.

    A handler takes the event and finds its transaction with `current_session()`.
    `@facts` without a filter takes the facts that no other handler is for.
    """

    def __init__(self, settling: Settling) -> None:
        self._settling = settling
        self._lanes = Lanes(settling)
        self.subscriber: Any = None

    @overload
    def __call__(self, handler: H) -> H: ...

    @overload
    def __call__(self, *, filter: IsA) -> Callable[[H], H]: ...

    def __call__(self, handler: Any = None, *, filter: IsA | None = None) -> Any:  # noqa: A002
        def add(handler: Handler) -> Handler:
            if filter is None:
                self._settling.otherwise = handler
            else:
                self._settling.handlers[filter.event.topic] = filter.event, handler
            return handler

        return add if handler is None else add(handler)

    @property
    def consumer(self) -> AIOKafkaConsumer | None:
        """None where FastStream's test broker delivers."""
        consumer = self.subscriber.consumer
        return consumer if isinstance(consumer, AIOKafkaConsumer) else None

    async def parse(self, records: tuple[Record, ...]) -> StreamMessage[Any]:
        """The batch as it is: reading a message may fail, and only that one is then dead."""
        return KafkaMessage(
            body=b"",
            headers={},
            message_id="",
            raw_message=records,
            consumer=self.consumer or FAKE_CONSUMER,
        )

    async def take(self, records: Any) -> None:
        """Have the messages settled; one that cannot be is asked for again."""
        await self._lanes.take(records, self.consumer)


class _FinishFirst(ConsumerRebalanceListener):  # type: ignore[misc] # untyped library
    """Holds a revocation until the events in hand are handled and the offsets committed."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Nothing to prepare."""

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if revoked:
            await self.flow.interrupt(STOP_WITHIN_SECONDS)


def security(settings: ServiceSettings) -> SASLScram512:
    return SASLScram512(
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        use_ssl=settings.kafka_use_ssl,
        ssl_context=ssl.create_default_context() if settings.kafka_use_ssl else None,
    )


def create_broker(
    settings: ServiceSettings, sessions: Sessions, flow: Flow | None = None
) -> KafkaBroker:
    """The broker of one worker, for `facts`; it publishes nothing, that is the relay's part."""
    broker = KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        security=security(settings),
        client_id=f"{settings.kafka_username}.worker",
        enable_idempotence=True,
        acks="all",
        allow_auto_create_topics=False,
        graceful_timeout=STOP_WITHIN_SECONDS,
        apply_types=False,
        logger=logging.getLogger("shared.consumers"),
        log_level=logging.DEBUG,
    )
    broker.context.set_global("sessions", sessions)
    broker.context.set_global("flow", flow or Flow())
    return broker


def facts(broker: KafkaBroker, settings: ServiceSettings, *events: type[Event]) -> Facts:
    """The one subscriber of a service, over the topics of these events."""
    flow: Flow = broker.context.get("flow")
    sessions: Sessions = broker.context.get("sessions")
    heard = Facts(Settling(sessions, settings.kafka_username, flow))
    subscriber = broker.subscriber(
        *[event.topic for event in events],
        batch=True,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=PARTITION_BYTES,
        group_id=settings.kafka_username,
        ack_policy=AckPolicy.NACK_ON_ERROR,
        auto_offset_reset="earliest",
        session_timeout_ms=settings.kafka_session_timeout_ms,
        heartbeat_interval_ms=settings.kafka_session_timeout_ms // 3,
        listener=_FinishFirst(flow),
        parser=heard.parse,
        decoder=_undecoded,
        no_reply=True,
    )
    subscriber.get_msg = _next_batch  # type: ignore[method-assign]
    heard.subscriber = subscriber
    subscriber(heard.take)
    return heard


async def _next_batch(consumer: AIOKafkaConsumer) -> tuple[Record, ...]:
    """What has come; nothing after a while in vain.

    FastStream's own then sleeps for as long again, and what comes meanwhile lies there: when the
    broker paused for 15 ms, every message of the next 50 was late.
    """
    batch = await consumer.getmany(timeout_ms=IDLE_MS, max_records=BATCH_MESSAGES)
    return tuple(itertools.chain(*batch.values()))


async def _undecoded(message: StreamMessage[Any]) -> Any:
    return message.raw_message


def assert_safe(broker: KafkaBroker) -> None:
    """Every subscriber must come back to what it has not handled.

    Raises:
        RuntimeError: one would lose or skip messages; names its topics.
    """
    for subscriber in broker.subscribers:
        if subscriber.ack_policy is not AckPolicy.NACK_ON_ERROR:
            topics = ", ".join(getattr(subscriber, "topic_names", ()))
            raise RuntimeError(f"The subscriber of {topics} must be NACK_ON_ERROR.")
