"""Keeps a worker's consumers connected, and says how far behind they are."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker
from prometheus_client import Gauge

from shared import health, kafka, telemetry
from shared.database import Sessions
from shared.settings import ServiceSettings

RECONNECT_SECONDS = 1
STUCK_AFTER_SECONDS = 300
"""Far beyond the longest a handler may take: a statement is cancelled after 15 s."""

log = telemetry.get_logger()
lag_messages = Gauge("consumer_lag_messages", "Messages not taken yet, by topic.", ["topic"])


class Consumers:
    """One connection to the broker at a time, made again whenever it ends."""

    def __init__(
        self,
        settings: ServiceSettings,
        sessions: Sessions,
        subscribe: Callable[[KafkaBroker], None],
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._subscribe = subscribe
        self._flow = kafka.Flow()
        self._stopping = asyncio.Event()
        self._broker: KafkaBroker | None = None

    async def run(self) -> None:
        """Consume until stopped, whether the broker is up or not."""
        while not self._flow.is_stopping:
            broker = kafka.create_broker(self._settings, self._sessions, self._flow)
            self._subscribe(broker)
            kafka.assert_safe(broker)
            try:
                await broker.start()
                self._broker = broker
                while all(not task.done() for task in _tasks(broker)) and await self._goes_on():
                    pass
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning(
                    "consumers.not_connected",
                    reason=f"{type(error).__name__}: {error}"[:200],
                    remedy="Is Kafka up, and are the login and its password right?",
                )
            finally:
                self._broker = None
                await self._flow.interrupt(kafka.STOP_WITHIN_SECONDS)
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(broker.stop(), kafka.STOP_WITHIN_SECONDS + 2)
            await self._goes_on()

    def stop(self) -> None:
        """Let `run` end after the message in hand."""
        self._flow.stop()
        self._stopping.set()

    async def _goes_on(self) -> bool:
        """False as soon as it is to stop, else True after a while."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), RECONNECT_SECONDS)
        return not self._flow.is_stopping

    async def check(self) -> None:
        """The broker answers.

        Raises:
            ConnectionError: it does not.
        """
        broker = self._broker
        if broker is None or not await broker.ping(timeout=health.CHECK_WITHIN_SECONDS - 1):
            raise ConnectionError

    def is_stuck(self) -> bool:
        """Messages wait, and for minutes none has been taken, tried again or finished."""
        is_idle = time.monotonic() - self._flow.active_at > STUCK_AFTER_SECONDS
        return is_idle and (bool(self._flow.in_hand) or any(behind for _, behind in self._behind()))

    async def measure(self) -> None:
        """Set the lag gauge."""
        by_topic: dict[str, int] = {}
        for topic, behind in self._behind():
            by_topic[topic] = by_topic.get(topic, 0) + behind
        for topic, behind in by_topic.items():
            lag_messages.labels(topic).set(behind)

    def _behind(self) -> Iterator[tuple[str, int]]:
        """Per assigned partition, by what the last fetch said of its end."""
        for subscriber in self._broker.subscribers if self._broker else ():
            consumer: AIOKafkaConsumer | None = getattr(subscriber, "consumer", None)
            if consumer is None:
                continue
            for place in consumer.assignment():
                # The public `position()` would wait for a partition that has none yet.
                assigned = consumer._subscription.subscription.assignment  # noqa: SLF001
                state = assigned.state_value(place)
                if state.has_valid_position and state.highwater is not None:
                    yield place.topic, max(0, state.highwater - state.position)


def _tasks(broker: KafkaBroker) -> list[asyncio.Task[Any]]:
    return [task for subscriber in broker.subscribers for task in getattr(subscriber, "tasks", ())]
