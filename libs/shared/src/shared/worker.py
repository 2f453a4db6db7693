"""A worker process: consumers, relay, jobs, deadlines and housekeeping, whatever is up or down."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from shared import health, housekeeping, process, telemetry
from shared.consumers import Consumers
from shared.database import Sessions, create_engine
from shared.deadlines import DeadlineTicker
from shared.jobs import JobRunner
from shared.relay import Relay
from shared.settings import ServiceSettings
from shared.wakeups import Listener, Notifier

STOP_WITHIN_SECONDS = 20
RESTART_SECONDS = 1

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


class Stoppable(Protocol):
    """Work that goes on until it is told to stop, and then finishes what it has in hand."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


async def _keep_running(part: Stoppable, stopping: asyncio.Event) -> None:
    """One part's bug must not take the others down: it is logged and the part begins again."""
    while True:
        try:
            await part.run()
        except Exception:
            log.exception("worker.part_failed", part=type(part).__name__)
        if stopping.is_set():
            return
        await asyncio.sleep(RESTART_SECONDS)


def _refresher(consumers: Consumers, parts: WorkerParts, sessions: Sessions) -> health.Check:
    async def refresh() -> None:
        await consumers.measure()
        await housekeeping.measure_outbox(sessions)
        for runner in parts.runners:
            await runner.measure()

    return refresh


async def _serve(
    settings: ServiceSettings,
    build: Callable[[ServiceSettings, Sessions], WorkerParts],
    engine: AsyncEngine,
) -> None:
    sessions = Sessions(engine)
    parts = build(settings, sessions)
    consumers, relay = Consumers(settings, sessions, parts.subscribe), Relay(settings)
    work: list[Stoppable] = [consumers, relay, *parts.runners]
    if parts.ticker is not None:
        work.append(parts.ticker)
    listener = Listener(settings, [relay.wake, *(runner.wake for runner in parts.runners)])
    ops_app = health.create_ops_app(
        {
            "database": health.database_check(engine),
            "broker": consumers.check,
            **parts.parts,
        },
        refresh_metrics=_refresher(consumers, parts, sessions),
        is_stuck=consumers.is_stuck,
    )
    server = health.Server.of(ops_app, settings.host, settings.ops_port)
    process.settle()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    async with Notifier(settings):
        serving = asyncio.create_task(server.serve())
        aside = [
            asyncio.create_task(listener.run()),
            asyncio.create_task(housekeeping.run(sessions)),
        ]
        working = [asyncio.create_task(_keep_running(part, stopping)) for part in work]
        asked = asyncio.create_task(stopping.wait())
        # The server ends by itself only when its port is taken: the supervisor must see that.
        await asyncio.wait({asked, serving}, return_when=asyncio.FIRST_COMPLETED)
        stopping.set()
        for part in work:
            part.stop()
        _, late = await asyncio.wait(working, timeout=STOP_WITHIN_SECONDS)
        for task in (*late, *aside):
            task.cancel()
        await asyncio.gather(*late, *aside, return_exceptions=True)
        server.should_exit = True
        await serving
    if parts.close is not None:
        await parts.close()


def run(
    settings: ServiceSettings, build: Callable[[ServiceSettings, Sessions], WorkerParts]
) -> None:
    """The worker's main: work until SIGTERM, then finish what is in hand.

    Args:
        settings: the service's.
        build: makes the service's parts from its settings and sessions.
    """

    async def main() -> None:
        engine = create_engine(settings)
        try:
            await _serve(settings, build, engine)
        finally:
            with contextlib.suppress(OSError):
                await engine.dispose()

    process.run(settings, "worker", main)
