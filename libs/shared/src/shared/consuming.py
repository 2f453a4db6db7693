"""How one fact is settled: claimed, handled and committed once; or waited for; or declared dead.

Failures have three kinds (docs/decisions/0004): past, dead, infrastructure. A row in the outbox
makes a message dead; an outage of ours is waited out in place, for ever.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka import ConsumerRecord
from prometheus_client import Counter
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from shared import crash, dead_letters, inbox, outages, telemetry
from shared.database import Sessions
from shared.events import Envelope, Event

TRIES = 5
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0

Record: TypeAlias = ConsumerRecord
Handler = Callable[..., Awaitable[None]]

log = telemetry.get_logger()
handled_total = Counter("inbox_messages_total", "Messages by outcome.", ["topic", "outcome"])

_session: ContextVar[AsyncSession] = ContextVar("handler_session")
_envelope: ContextVar[Envelope] = ContextVar("handler_envelope")


def current_session() -> AsyncSession:
    """The transaction of the event being handled; the inbox commits it."""
    return _session.get()


def current_envelope() -> Envelope:
    return _envelope.get()


class GivenBack(Exception):
    """The message is not settled; whoever holds its partition next gets it again."""


class Unreadable(Exception):
    """Nobody could ever handle this message."""


@dataclass
class Flow:
    """What a worker and its consumers tell each other."""

    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the process stops or partitions are taken away: finish the event in hand, and
    nothing more."""
    is_stopping: bool = False
    active_at: float = field(default_factory=time.monotonic)
    """When a message was last taken, tried again or finished."""
    in_hand: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it run beside the rest; `finish` waits for it."""
        task = asyncio.create_task(work)
        self.in_hand.add(task)
        task.add_done_callback(self.in_hand.discard)

    async def finish(self, seconds: float) -> None:
        """Wait until nothing is in hand, but no longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.in_hand:
                    await asyncio.wait(self.in_hand)

    async def interrupt(self, seconds: float) -> None:
        """Have what is in hand finished and the rest dropped; its next owner takes that again."""
        self.hurry.set()
        await self.finish(seconds)
        if not self.is_stopping:
            self.hurry.clear()

    async def rest(self, seconds: float) -> None:
        """Wait, but not when in a hurry."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.hurry.wait(), seconds)

    def stop(self) -> None:
        self.is_stopping = True
        self.hurry.set()

    async def pause(self, seconds: float) -> None:
        """Wait before another try.

        Raises:
            GivenBack: there is no time for another one.
        """
        self.active_at = time.monotonic()
        await self.rest(seconds)
        if self.hurry.is_set():
            raise GivenBack


@dataclass
class Settling:
    """What a consumer does with each message; handlers are found by the fact's type."""

    sessions: Sessions
    consumer: str
    flow: Flow
    handlers: dict[str, tuple[type[Event], Handler]] = field(default_factory=dict)
    otherwise: Handler | None = None
    """Takes facts that no handler is for, without their content."""

    async def settle(self, record: Record) -> bool:
        """Handle the message, whatever that takes; False when it became a dead letter.

        Raises:
            GivenBack: it must be asked for again.
        """
        crash.point("cons.after_poll")
        self.flow.active_at = time.monotonic()
        try:
            headers = _headers(record)
            envelope = Envelope.from_headers(headers)
            handle, arguments = self._handler(envelope, record)
        except (ValidationError, UnicodeDecodeError, Unreadable) as error:
            await self._bury(record, error, tries=1)
            return False
        with telemetry.continue_from(headers, f"{record.topic} process"):
            is_handled = await self._until_done(record, envelope, handle, arguments)
        crash.point("cons.after_commit_before_offset")
        self.flow.active_at = time.monotonic()
        return is_handled

    def _handler(self, envelope: Envelope, record: Record) -> tuple[Handler, tuple[Event, ...]]:
        """The handler of this fact and what it is called with.

        Raises:
            pydantic.ValidationError: the content does not fit the event.
            Unreadable: nobody handles such a fact.
        """
        if envelope.type in self.handlers:
            event, handler = self.handlers[envelope.type]
            return handler, (event.model_validate_json(record.value or b""),)
        if self.otherwise is None:
            raise Unreadable(f"{self.consumer} has no handler for {envelope.type}.")
        return self.otherwise, ()

    async def _until_done(
        self, record: Record, envelope: Envelope, handle: Handler, arguments: tuple[Event, ...]
    ) -> bool:
        topic, tries, backoff = record.topic, 0, FIRST_BACKOFF_SECONDS
        while True:
            try:
                outcome = await self._once(record, envelope, handle, arguments)
            except Exception as error:
                if outages.is_outage(error):
                    log.warning("event.waiting", topic=topic, reason=type(error).__name__)
                else:
                    tries += 1
                    log.warning("event.failed", topic=topic, tries=tries, exc_info=error)
                if tries >= TRIES:
                    await self._bury(record, error, tries)
                    return False
                await self.flow.pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            else:
                handled_total.labels(topic, outcome).inc()
                return True

    async def _once(
        self, record: Record, envelope: Envelope, handle: Handler, arguments: tuple[Event, ...]
    ) -> str:
        async with self.sessions.begin() as session:
            if not await inbox.claim(session, self.consumer, envelope.event_id, record.topic):
                return "duplicate"
            held_session, held_envelope = _session.set(session), _envelope.set(envelope)
            try:
                await handle(*arguments)
            finally:
                _session.reset(held_session)
                _envelope.reset(held_envelope)
        return "handled"

    async def _bury(self, record: Record, error: Exception, tries: int) -> None:
        """Make it a dead letter, however long the database may take.

        Raises:
            GivenBack: there is no time left for that.
        """
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                await dead_letters.bury(self.sessions, self.consumer, record, error, tries)
            except Exception as failure:
                log.exception("event.not_buried", topic=record.topic, exc_info=failure)
                await self.flow.pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            else:
                handled_total.labels(record.topic, "dead").inc()
                return


def _headers(record: Record) -> dict[str, str]:
    """The headers as text.

    Raises:
        Unreadable: one has no value.
        UnicodeDecodeError: one is no text.
    """
    for name, value in record.headers:
        if value is None:
            raise Unreadable(f"The header {name} has no value.")
    return {name: value.decode() for name, value in record.headers}
