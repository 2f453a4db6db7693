"""How fast the outbox relay is, and how late a consumer commits.

`relay_ratio`: events per second of the relay over those of one raw idempotent aiokafka producer
that calls send() for each of the same messages, from memory. Both take turns; medians. A relay
turn counts from the first look at the table until the last row is marked.

`p50_ms`, `p99_ms`: from the commit that records an event to the commit of the consumer that handled
it, at a steady rate, through the relay, the broker and the inbox of a worker process. Medians of
turns, so that what a neighbour takes of the machine for a moment does not count.
"""

import asyncio
import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import httpx
import sqlalchemy as sa
import uvloop
from alembic.migration import MigrationContext
from alembic.operations import Operations
from confluent_kafka.admin import AdminClient, NewTopic
from faststream.kafka import KafkaBroker
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict
from sqlalchemy.orm import Session

from shared import kafka, worker
from shared.events import Event
from shared.ids import new_id
from shared.migrations import create_infrastructure_v1
from shared.relay import Relay
from shared.settings import ServiceSettings
from shared.testing import Stack, free_port, headers_of
from shared.wakeups import Notifier

EVENTS = 30_000
KEYS = 3_000
TURNS = 5
PARTITIONS = 12
RATE_PER_SECOND = 300
RATE_SECONDS = 10
RATE_TURNS = 6
"""The first one warms up and does not count."""
WRITERS = 4

_COLUMNS = ["event_id", "aggregate_id", "sequence", "topic", "key", "payload", "headers"]
_INSERT = (
    "INSERT INTO outbox (event_id, aggregate_id, sequence, topic, key, payload, headers)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7)"
)

Message = tuple[str, bytes, dict[str, str]]

_ROLES = """
CREATE ROLE bench_owner LOGIN PASSWORD 'dev-owner';
CREATE ROLE bench_app LOGIN PASSWORD 'dev-app';
ALTER ROLE bench_owner SET search_path = bench;
ALTER ROLE bench_app SET search_path = bench;
CREATE SCHEMA bench AUTHORIZATION bench_owner;
GRANT USAGE ON SCHEMA bench TO bench_app;
"""


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="BENCH_", frozen=True, extra="ignore")

    def environment_variables(self) -> dict[str, str]:
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            f"BENCH_{name.upper()}": str(
                value.get_secret_value() if isinstance(value, SecretStr) else value
            )
            for name, value in values.items()
            if value is not None and name != "trusted_proxies"
        }


class Measured(Event):
    """About the size of an `offer.accepted`."""

    topic: ClassVar[str] = "bench.measured"
    source: ClassVar[str] = "bench"
    aggregate_field: ClassVar[str] = "root_offer_id"

    root_offer_id: UUID
    number: int
    filling: str = "x" * 500


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def prepare(stack: Stack) -> Settings:
    """A schema and topics of the bench's own."""
    say("starting Kafka …")
    stack.start("kafka")
    server = await asyncpg.connect(stack.superuser_dsn("postgres"))
    await server.execute("CREATE DATABASE bench")
    await server.close()
    superuser_dsn = stack.superuser_dsn("bench")
    server = await asyncpg.connect(superuser_dsn)
    await server.execute(_ROLES)
    await server.close()
    address = superuser_dsn.rpartition("@")[2]
    engine = sa.create_engine(f"postgresql+psycopg://bench_owner:dev-owner@{address}")
    with engine.begin() as connection:
        create_infrastructure_v1(Operations(MigrationContext.configure(connection)), "bench")
    engine.dispose()
    login: dict[str, str | int | float | bool] = {
        "bootstrap.servers": stack.kafka_bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "admin",
        "sasl.password": stack.kafka_password("admin"),
    }
    topics = [
        NewTopic(name, PARTITIONS, 1)
        for name in (Measured.topic, "bench.raw", "bench.relayed", "admin.dlq")
    ]
    client = AdminClient(login)
    for made in client.create_topics(topics).values():
        made.result(30)
    return Settings.model_validate(
        {
            "environment": "test",
            "database_url": f"postgresql://bench_app:dev-app@{address}",
            "ops_port": free_port(),
            "public_url": "http://127.0.0.1",
            "jwt_issuer": "http://127.0.0.1",
            "jwks_url": "http://127.0.0.1/jwks.json",
            "kafka_bootstrap_servers": stack.kafka_bootstrap,
            "kafka_username": "admin",
            "kafka_password": stack.kafka_password("admin"),
            "kafka_use_ssl": False,
        }
    )


def _message(event: Measured) -> Message:
    return event.key, event.model_dump_json().encode(), headers_of(event, sequence=event.number)


def messages() -> list[Message]:
    """Key, body and headers as `outbox.record` writes them."""
    keys = [new_id() for _ in range(KEYS)]
    events = [
        Measured(version=1, root_offer_id=keys[number % KEYS], number=number)
        for number in range(EVENTS)
    ]
    return [_message(event) for event in events]


async def raw_turn(stack: Stack, batch: list[Message]) -> float:
    """Events per second of send() on each message, until the last is acknowledged."""
    ready = [
        (key.encode(), body, [(name, text.encode()) for name, text in headers.items()])
        for key, body, headers in batch
    ]
    async with stack.producer("admin") as producer:
        await producer.send_and_wait("bench.raw", b"connected")
        started = time.perf_counter()
        acknowledged = [
            await producer.send("bench.raw", body, key=key, headers=headers)
            for key, body, headers in ready
        ]
        await asyncio.gather(*acknowledged)
        return len(ready) / (time.perf_counter() - started)


async def relay_turn(settings: Settings, batch: list[Message]) -> float:
    """Events per second from the table to the mark, for a relay that is already connected."""
    owner_url = settings.asyncpg_url.replace("bench_app:dev-app", "bench_owner:dev-owner")
    connection = await asyncpg.connect(owner_url)
    await connection.execute("TRUNCATE outbox")
    relay = Relay(settings)
    running = asyncio.create_task(relay.run())
    try:
        await _record(connection, "bench.relayed", batch[:1])
        await _until_published(connection)
        async with connection.transaction():
            await _record(connection, "bench.relayed", batch[1:])
            await connection.execute("ANALYZE outbox")
        started = time.perf_counter()
        relay.wake.set()
        await _until_published(connection)
        return len(batch) / (time.perf_counter() - started)
    finally:
        relay.stop()
        await running
        await connection.close()


def _row(topic: str, key: str, body: bytes, headers: dict[str, str]) -> tuple[Any, ...]:
    number = int(headers["ce_sequence"])
    return headers["ce_id"], key, number, topic, key, body, json.dumps(headers)


async def _record(connection: asyncpg.Connection, topic: str, batch: list[Message]) -> None:
    await connection.copy_records_to_table(
        "outbox", columns=_COLUMNS, records=[_row(topic, *message) for message in batch]
    )


async def _until_published(connection: asyncpg.Connection) -> None:
    pending = "SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"
    while await connection.fetchval(pending):
        await asyncio.sleep(0.005)


def work() -> None:
    """The worker process whose commits are measured: it writes them down when it ends."""
    committed_at: dict[int, float] = {}

    @sa.event.listens_for(Session, "after_commit")
    def _committed(session: Session) -> None:
        number = session.info.pop("measured", None)
        if number is not None:
            committed_at.setdefault(number, time.clock_gettime(time.CLOCK_MONOTONIC))

    def subscribe(broker: KafkaBroker) -> None:
        subscriber = kafka.facts(broker, settings, Measured)

        @subscriber(filter=kafka.is_a(Measured))
        async def note_when_measured(event: Measured) -> None:
            kafka.current_session().info["measured"] = event.number

    async def write_down() -> None:
        await asyncio.to_thread(
            Path(os.environ["BENCH_OUTPUT"]).write_text, json.dumps(committed_at)
        )

    settings = Settings()
    worker.run(
        settings, lambda _settings, _sessions: worker.WorkerParts(subscribe, close=write_down)
    )


@contextlib.asynccontextmanager
async def working(settings: Settings, output: str) -> AsyncIterator[None]:
    """A worker process, from when it is ready until it has ended."""
    environment = settings.environment_variables() | {"BENCH_OUTPUT": output}
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--worker", env=os.environ | environment, stdout=DEVNULL
    )
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(30):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    ready = await client.get(f"http://127.0.0.1:{settings.ops_port}/health/ready")
                    if ready.status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield
    finally:
        process.terminate()
        await process.wait()


async def latencies(settings: Settings) -> list[list[float]]:
    """Milliseconds from each event's commit to the consumer's, by turn.

    An event's time begins when its INSERT is sent. A turn begins when the last one is worked off.
    """
    per_turn = RATE_PER_SECOND * RATE_SECONDS
    total = per_turn * RATE_TURNS
    rows = [
        _row(Measured.topic, *_message(Measured(version=1, root_offer_id=uuid4(), number=number)))
        for number in range(total)
    ]
    asked_at: list[float] = [0.0] * total
    free: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()

    async def record(number: int) -> None:
        connection = await free.get()
        asked_at[number] = time.clock_gettime(time.CLOCK_MONOTONIC)
        await connection.execute(_INSERT, *rows[number])
        free.put_nowait(connection)
        notifier.ring()

    async def turn(numbers: range) -> None:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as writing:
            for place, number in enumerate(numbers):
                due = started + place / RATE_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                writing.create_task(record(number))
        async with asyncio.timeout(60):
            while await watching.fetchval("SELECT count(*) FROM inbox") < numbers.stop:
                await asyncio.sleep(0.2)

    turns = [range(first, first + per_turn) for first in range(0, total, per_turn)]
    with tempfile.NamedTemporaryFile() as file:
        async with working(settings, file.name), Notifier(settings) as notifier:
            # Not a pool: it would ask the server to reset each connection after each use.
            watching, *writers = [
                await asyncpg.connect(settings.asyncpg_url) for _ in range(1 + WRITERS)
            ]
            for connection in writers:
                free.put_nowait(connection)
            gc.freeze()  # a pause of the generator would be taken for one of the relay
            for number, numbers in enumerate(turns):
                say(f"turn {number}/{RATE_TURNS - 1} …" if number else "warming up …")
                await turn(numbers)
            for connection in (watching, *writers):
                await connection.close()
        committed_at = {int(number): at for number, at in json.load(file).items()}
    return [
        [(committed_at[number] - asked_at[number]) * 1000 for number in numbers]
        for numbers in turns[1:]
    ]


async def measure(stack: Stack) -> str:
    settings = await prepare(stack)
    batch = messages()
    ratios = []
    for turn in range(TURNS):
        raw, relayed = await raw_turn(stack, batch), await relay_turn(settings, batch)
        ratios.append((raw, relayed))
        say(f"turn {turn + 1}/{TURNS}: raw {raw:,.0f}/s, relay {relayed:,.0f}/s")
    raw, relayed = (statistics.median(column) for column in zip(*ratios, strict=True))
    say(f"{RATE_PER_SECOND} events/s, {RATE_TURNS} times {RATE_SECONDS} s")
    ranks = []
    for waited in await latencies(settings):
        hundredths = statistics.quantiles(waited, n=100)
        ranks.append((hundredths[49], hundredths[98]))
        say("p50 {:.1f} ms, p99 {:.1f} ms".format(*ranks[-1]))
    p50, p99 = (statistics.median(column) for column in zip(*ranks, strict=True))
    return f"relay_ratio={relayed / raw:.2f} p50_ms={p50:.1f} p99_ms={p99:.1f}"


if __name__ == "__main__":
    if "--worker" in sys.argv:
        work()
        sys.exit()
    with Stack.started() as started:
        print(uvloop.run(measure(started)))
