"""How facts of other services come in: claimed, handled and committed once, then the offset moves.

Failures have three kinds (docs/decisions/0004): past, dead, infrastructure. A row in the outbox
makes a message dead; an outage of ours is waited out in place, for ever.
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRebalanceListener, ConsumerRecord
from fast_depends.exceptions import ValidationError as UnfitArguments
from faststream import AckPolicy, BaseMiddleware
from faststream.exceptions import HandlerException, NackMessage
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import DefaultSubscriber
from faststream.message import StreamMessage
from faststream.security import SASLScram512
from prometheus_client import Counter
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from shared import crash, dead_letters, inbox, outages, telemetry
from shared.database import Sessions
from shared.events import Envelope, Event
from shared.settings import ServiceSettings

TRIES = 5
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0
NACK_AFTER_SECONDS = 60
"""Waiting longer in place would bring the consumer near `max_poll_interval_ms` and out of its
group; the message is then asked for again."""
STOP_WITHIN_SECONDS = 15

UNREADABLE = (UnfitArguments, json.JSONDecodeError, UnicodeDecodeError)

log = telemetry.get_logger()
handled_total = Counter("inbox_messages_total", "Messages by outcome.", ["topic", "outcome"])

_session: ContextVar[AsyncSession] = ContextVar("handler_session")
_envelope: ContextVar[Envelope] = ContextVar("handler_envelope")


def current_session() -> AsyncSession:
    """The transaction of the event being handled; the inbox commits it.

    A contextvar and no parameter: FastStream resolves each `Context()` parameter in a thread.
    """
    return _session.get()


def current_envelope() -> Envelope:
    return _envelope.get()


def is_a(event: type[Event]) -> Callable[[StreamMessage[Any]], bool]:
    """The filter that gives a handler this kind of fact and no other."""

    def matches(message: StreamMessage[Any]) -> bool:
        return message.headers.get("ce_type") == event.topic

    return matches


@dataclass
class Flow:
    """What a worker and its consumers tell each other."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the worker: what waits for an outage to end gives its message back."""
    active_at: float = field(default_factory=time.monotonic)
    """When a message was last taken, tried again or finished."""

    async def pause(self, seconds: float) -> None:
        """Wait before another try.

        Raises:
            NackMessage: the process is stopping; the next consumer gets the message.
        """
        self.active_at = time.monotonic()
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return
        raise NackMessage


class Consume(BaseMiddleware[Any, ConsumerRecord]):
    """Everything between Kafka and a handler; what it needs comes with `Consume.over`."""

    sessions: Sessions
    consumer: str
    flow: Flow

    @classmethod
    def over(cls, sessions: Sessions, consumer: str, flow: Flow) -> type["Consume"]:
        return type("Consume", (cls,), {"sessions": sessions, "consumer": consumer, "flow": flow})

    async def consume_scope(
        self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> Any:
        crash.point("cons.after_poll")
        self.flow.active_at = time.monotonic()
        try:
            envelope = Envelope.from_headers(msg.headers)
        except ValidationError as error:
            await self._bury(error, tries=1)
            return None
        with telemetry.continue_from(msg.headers, f"{self.msg.topic} process"):
            await self._until_done(call_next, msg, envelope)
        crash.point("cons.after_commit_before_offset")
        self.flow.active_at = time.monotonic()
        return None

    async def _until_done(
        self,
        call_next: Callable[[Any], Awaitable[Any]],
        msg: StreamMessage[Any],
        envelope: Envelope,
    ) -> None:
        topic, tries, backoff, waited = self.msg.topic, 0, FIRST_BACKOFF_SECONDS, 0.0
        while True:
            try:
                outcome = await self._handle(call_next, msg, envelope)
            except UNREADABLE as error:
                await self._bury(error, tries=1)
                return
            except HandlerException:
                raise
            except Exception as error:
                if outages.is_outage(error):
                    log.warning("event.waiting", topic=topic, reason=type(error).__name__)
                else:
                    tries += 1
                    log.warning("event.failed", topic=topic, tries=tries, exc_info=error)
                if tries >= TRIES:
                    await self._bury(error, tries)
                    return
                if waited >= NACK_AFTER_SECONDS:
                    raise NackMessage from error
                await self.flow.pause(backoff)
                waited += backoff
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            else:
                handled_total.labels(topic, outcome).inc()
                return

    async def _handle(
        self,
        call_next: Callable[[Any], Awaitable[Any]],
        msg: StreamMessage[Any],
        envelope: Envelope,
    ) -> str:
        async with self.sessions.begin() as session:
            if not await inbox.claim(session, self.consumer, envelope.event_id, self.msg.topic):
                return "duplicate"
            held_session, held_envelope = _session.set(session), _envelope.set(envelope)
            try:
                await call_next(msg)
            finally:
                _session.reset(held_session)
                _envelope.reset(held_envelope)
        return "handled"

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: Any = None,
    ) -> bool | None:
        """What failed before a handler was found: a null header, a fact nobody handles."""
        if not isinstance(exc_val, Exception) or isinstance(exc_val, HandlerException):
            return await super().after_processed(exc_type, exc_val, exc_tb)
        await self._bury(exc_val, tries=1)
        return True

    async def _bury(self, error: Exception, tries: int) -> None:
        """Make it a dead letter, however long that takes: FastStream cannot seek back to a message
        that it could not parse, so letting go of one before it is recorded would lose it.
        """
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                await dead_letters.bury(self.sessions, self.consumer, self.msg, error, tries)
            except Exception as failure:
                log.exception("event.not_buried", topic=self.msg.topic, exc_info=failure)
                await self.flow.pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            else:
                return


class _FinishFirst(ConsumerRebalanceListener):  # type: ignore[misc] # untyped library
    """Holds a revocation until the message in hand is handled and its offset committed."""

    subscriber: Any = None

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Nothing to prepare."""

    async def on_partitions_revoked(self, revoked: Any) -> None:
        lock = getattr(self.subscriber, "lock", None)
        if revoked and lock is not None:
            await lock.wait_release(STOP_WITHIN_SECONDS)


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
    """The broker of one worker; what it consumes goes through the inbox."""
    return KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        security=security(settings),
        client_id=f"{settings.kafka_username}.worker",
        enable_idempotence=True,
        acks="all",
        allow_auto_create_topics=False,
        graceful_timeout=STOP_WITHIN_SECONDS,
        middlewares=[Consume.over(sessions, settings.kafka_username, flow or Flow())],
        logger=logging.getLogger("faststream"),
    )


def facts(
    broker: KafkaBroker, settings: ServiceSettings, *events: type[Event]
) -> DefaultSubscriber:
    """The one subscriber of a service; add handlers to it with `filter=is_a(Event)`."""
    listener = _FinishFirst()
    topics: list[str] = [event.topic for event in events]
    subscriber = broker.subscriber(
        *topics,
        group_id=settings.kafka_username,
        ack_policy=AckPolicy.NACK_ON_ERROR,
        auto_offset_reset="earliest",
        session_timeout_ms=settings.kafka_session_timeout_ms,
        heartbeat_interval_ms=settings.kafka_session_timeout_ms // 3,
        listener=listener,
        no_reply=True,
    )
    listener.subscriber = subscriber
    return subscriber


def assert_safe(broker: KafkaBroker) -> None:
    """Every subscriber must come back to what it has not handled.

    Raises:
        RuntimeError: one would lose or skip messages; names its topics.
    """
    for subscriber in broker.subscribers:
        if subscriber.ack_policy is not AckPolicy.NACK_ON_ERROR:
            topics = ", ".join(getattr(subscriber, "topic_names", ()))
            raise RuntimeError(f"The subscriber of {topics} must be NACK_ON_ERROR.")
