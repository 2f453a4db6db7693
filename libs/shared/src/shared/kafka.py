"""The broker as services see it: one subscriber each, over the facts they listen to.

Messages come in batches, whose partitions are worked off side by side and in order within each: one
transaction an event, one offset commit a batch. An event that cannot be settled now is sought
back to, so that the commit never passes it.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaAckableMessage
from faststream.message import StreamMessage
from faststream.security import SASLScram512

from shared.consuming import (
    Flow,
    GivenBack,
    Handler,
    Record,
    Settling,
    current_envelope,
    current_session,
)
from shared.database import Sessions
from shared.events import Event
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

BATCH_MESSAGES = 100
IDLE_MS = 10
"""FastStream sleeps this long after it has waited this long in vain for a batch."""
PARALLEL_PARTITIONS = 4
"""One less than the connection pool has, for jobs and deadlines share it."""
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
        self._slots = asyncio.Semaphore(PARALLEL_PARTITIONS)
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
        return KafkaAckableMessage(
            body=b"",
            headers={},
            message_id="",
            raw_message=records,
            consumer=self.consumer or FAKE_CONSUMER,
        )

    async def take(self, records: Any) -> None:
        """Settle a batch, or as much of it as there is time for."""
        partitions: dict[TopicPartition, list[Record]] = {}
        for record in records:
            place = TopicPartition(record.topic, record.partition)
            partitions.setdefault(place, []).append(record)
        async with asyncio.TaskGroup() as group:
            for place, waiting in partitions.items():
                group.create_task(self._in_order(place, waiting))

    async def _in_order(self, place: TopicPartition, records: list[Record]) -> None:
        async with self._slots:
            for record in records:
                if self._settling.flow.hurry.is_set():
                    self._go_back(place, record)
                    return
                try:
                    is_handled = await self._settling.settle(record)
                except GivenBack:
                    self._go_back(place, record)
                    return
                if not is_handled and self.consumer is not None:
                    # A dead letter has no row in the inbox that would keep it from being repeated.
                    with contextlib.suppress(KafkaError):
                        await self.consumer.commit({place: record.offset + 1})

    def _go_back(self, place: TopicPartition, record: Record) -> None:
        """The batch's commit must not pass this message."""
        if self.consumer is not None:
            # No longer ours: then its next owner begins behind the last commit.
            with contextlib.suppress(IllegalStateError):
                self.consumer.seek(place, record.offset)


class _FinishFirst(ConsumerRebalanceListener):  # type: ignore[misc] # untyped library
    """Holds a revocation until the events in hand are handled and the offsets committed."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.subscriber: Any = None

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Nothing to prepare."""

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if revoked:
            self.flow.hurry.set()
            await self.subscriber.lock.wait_release(STOP_WITHIN_SECONDS)
            if not self.flow.is_stopping:
                self.flow.hurry.clear()


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
    listener = _FinishFirst(flow)
    heard = Facts(Settling(sessions, settings.kafka_username, flow))
    subscriber = broker.subscriber(
        *[event.topic for event in events],
        batch=True,
        max_records=BATCH_MESSAGES,
        batch_timeout_ms=IDLE_MS,
        group_id=settings.kafka_username,
        ack_policy=AckPolicy.NACK_ON_ERROR,
        auto_offset_reset="earliest",
        session_timeout_ms=settings.kafka_session_timeout_ms,
        heartbeat_interval_ms=settings.kafka_session_timeout_ms // 3,
        listener=listener,
        parser=heard.parse,
        decoder=_undecoded,
        no_reply=True,
    )
    heard.subscriber = listener.subscriber = subscriber
    subscriber(heard.take)
    return heard


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
