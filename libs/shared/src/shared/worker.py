"""A worker process: consumers, relay, jobs, deadlines and housekeeping, whatever is up or down."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from shared import crash, health, housekeeping, kafka, telemetry
from shared.database import Sessions, create_engine, create_sessions
from shared.deadlines import DeadlineTicker
from shared.jobs import JobRunner
from shared.relay import Relay
from shared.settings import ServiceSettings
from shared.wakeups import Listener, Notifier

STOP_WITHIN_SECONDS = 20
RECONNECT_SECONDS = 1

log = telemetry.get_logger()


@dataclass(frozen=True)
class WorkerParts:
    """What a service adds to the worker that all services share."""

    subscribe: Callable[[KafkaBroker], None]
    """Adds the service's subscriber; called anew for each connection to the broker."""
    runners: Sequence[JobRunner[Any]] = ()
    ticker: DeadlineTicker | None = None
    parts: Mapping[str, health.Check] = field(default_factory=dict)
    """Further parts that must be up for readiness, for example storage."""
    close: Callable[[], Awaitable[None]] | None = None


class Consumers:
    """Keeps the service's consumers connected."""

    def __init__(
        self,
        settings: ServiceSettings,
        sessions: Sessions,
        subscribe: Callable[[KafkaBroker], None],
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._subscribe = subscribe
        self._broker: KafkaBroker | None = None

    async def run(self) -> None:
        """Connect, consume, and connect again when a consumer has ended."""
        while True:
            broker = kafka.create_broker(self._settings, self._sessions)
            self._subscribe(broker)
            kafka.assert_safe(broker)
            try:
                await broker.start()
                self._broker = broker
                while all(not task.done() for task in _tasks(broker)):
                    await asyncio.sleep(RECONNECT_SECONDS)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning(
                    "consumers.not_connected",
                    reason=str(error)[:200],
                    remedy="Is Kafka up, and are the login and its password right?",
                )
            finally:
                self._broker = None
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(broker.stop(), STOP_WITHIN_SECONDS)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def check(self) -> None:
        """Raises when the broker does not answer or a consumer does not move."""
        broker = self._broker
        if broker is None or not await broker.ping(timeout=health.CHECK_WITHIN_SECONDS - 1):
            raise ConnectionError("no broker")


def _tasks(broker: KafkaBroker) -> list[asyncio.Task[Any]]:
    return [task for subscriber in broker.subscribers for task in getattr(subscriber, "tasks", ())]


async def _serve(
    settings: ServiceSettings,
    build: Callable[[ServiceSettings, Sessions], WorkerParts],
    engine: AsyncEngine,
) -> None:
    sessions = create_sessions(engine)
    parts = build(settings, sessions)
    consumers = Consumers(settings, sessions, parts.subscribe)
    relay = Relay(settings)
    listener = Listener(settings, [relay.wake, *(runner.wake for runner in parts.runners)])
    ops = health.create_ops_app(
        {
            "database": health.database_check(engine),
            "broker": consumers.check,
            **parts.parts,
        },
        refresh_metrics=lambda: housekeeping.measure_outbox(sessions),
    )
    work: list[Coroutine[Any, Any, None]] = [
        listener.run(),
        consumers.run(),
        relay.run(),
        housekeeping.run(sessions),
        *(runner.run() for runner in parts.runners),
    ]
    if parts.ticker is not None:
        work.append(parts.ticker.run())
    server = health.Server.of(ops, settings.host, settings.ops_port)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    async with Notifier(settings):
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(part) for part in (server.serve(), *work)
        ]
        stop = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_WITHIN_SECONDS + 5)
        if parts.close is not None:
            await parts.close()
        for task in done - {stop}:
            task.result()


def run(
    settings: ServiceSettings, build: Callable[[ServiceSettings, Sessions], WorkerParts]
) -> None:
    """The worker's main: work until SIGTERM, then finish what is in hand.

    Args:
        settings: the service's.
        build: makes the service's parts from its settings and sessions.
    """
    telemetry.configure(settings, "worker")
    crash.arm(settings.crash_at)

    async def main() -> None:
        engine = create_engine(settings)
        try:
            await _serve(settings, build, engine)
        finally:
            await engine.dispose()

    uvloop.run(main())
