"""Publishes the outbox in order, at least once; the set of unpublished rows is its only state.

One relay leads per schema, by a row lease with a fence: a session lock would let a frozen holder
block the service. Rows are read by `published_at IS NULL` and never by "id past the last one
published", because ids are given before commits and become visible out of order. Pages are
settled in the order they were sent, and behind the first failure in a partition nothing is
marked, so that a resend cannot swap two events of one aggregate.
"""

import asyncio
import contextlib
import functools
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from prometheus_client import Counter

from shared import crash, kafka, telemetry
from shared.ids import new_id
from shared.settings import ServiceSettings

PAGE_ROWS = 1000
PAGES_AHEAD = 2
PAGES_PER_DRAIN = 50
POLL_SECONDS = 0.25
LEASE_SECONDS = 10
RENEW_SECONDS = 3
ACK_WITHIN_SECONDS = 30
STOP_WITHIN_SECONDS = 5
BATCH_BYTES = 128 * 1024

_CLAIM = f"""
    UPDATE relay_leases SET holder = $1, fence = fence + 1,
        lease_until = clock() + interval '{LEASE_SECONDS} seconds'
    WHERE name = 'outbox' AND (lease_until IS NULL OR lease_until < clock()) RETURNING fence
"""  # noqa: S608 - constants of ours
_RENEW = f"""
    UPDATE relay_leases SET lease_until = clock() + interval '{LEASE_SECONDS} seconds'
    WHERE name = 'outbox' AND holder = $1 AND fence = $2 AND lease_until >= clock() RETURNING true
"""  # noqa: S608 - constants of ours
_RELEASE = """
    UPDATE relay_leases SET lease_until = NULL WHERE name = 'outbox' AND holder = $1 AND fence = $2
"""
_PENDING = """
    SELECT id, topic, key, payload, headers FROM outbox
    WHERE published_at IS NULL AND id > $1 ORDER BY id LIMIT $2
"""
_MARK = "UPDATE outbox SET published_at = clock() WHERE id = ANY($1::bigint[])"

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError)

log = telemetry.get_logger()
published_total = Counter("relay_published_total", "Outbox rows acknowledged by the broker.")


class LeaseLost(Exception):
    """Another relay leads now; at worst it sends some rows a second time."""


class NotPublished(Exception):
    """The broker did not acknowledge a batch; what stands behind it is not marked."""


@functools.lru_cache(maxsize=65536)
def _hash(key: bytes) -> int:
    """Aiokafka's own partitioner; in pure Python it is worth remembering."""
    return int(murmur2(key)) & 0x7FFFFFFF


@dataclass
class Batch:
    """Rows of one partition that travel together."""

    partition: tuple[str, int]
    ids: list[int]
    acknowledged: asyncio.Future[Any]


@dataclass
class Page:
    batches: list[Batch] = field(default_factory=list)


class Relay:
    """The outbox relay of one worker process; it works when it holds the lease."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._holder: UUID = new_id()
        self._fence = 0
        self._lease_ends = 0.0
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Lead whenever possible; any failure gives the lease back and starts over."""
        while True:
            try:
                await self._lead()
            except (*FAILURES, LeaseLost, NotPublished) as error:
                log.warning("relay.stopped", reason=f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(1)

    async def _lead(self) -> None:
        url = self._settings.asyncpg_url
        async with contextlib.AsyncExitStack() as stack:
            reader, marker = [
                await stack.enter_async_context(_connection(url)) for _ in ("reader", "marker")
            ]
            # A mark that is lost in a crash costs a duplicate, which the inbox absorbs.
            await marker.execute("SET synchronous_commit = off")
            while not await self._claim(marker):
                await asyncio.sleep(1)
            stack.push_async_callback(self._release, marker)
            producer = await stack.enter_async_context(_producer(self._settings))
            while True:
                await self._drain(reader, marker, producer)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), POLL_SECONDS)
                self.wake.clear()

    async def _claim(self, connection: asyncpg.Connection) -> bool:
        asked = time.monotonic()
        fence = await connection.fetchval(_CLAIM, self._holder)
        if fence is None:
            return False
        self._fence, self._lease_ends = fence, asked + LEASE_SECONDS
        return True

    async def _keep_lease(self, connection: asyncpg.Connection) -> None:
        """Renew in time.

        Raises:
            LeaseLost: it ran out, for example while this process was frozen.
        """
        asked = time.monotonic()
        if asked < self._lease_ends - LEASE_SECONDS + RENEW_SECONDS:
            return
        if not await connection.fetchval(_RENEW, self._holder, self._fence):
            raise LeaseLost
        self._lease_ends = asked + LEASE_SECONDS

    async def _release(self, connection: asyncpg.Connection) -> None:
        with contextlib.suppress(*FAILURES):
            await connection.execute(_RELEASE, self._holder, self._fence, timeout=5)

    async def _drain(
        self,
        reader: asyncpg.Connection,
        marker: asyncpg.Connection,
        producer: AIOKafkaProducer,
    ) -> None:
        """Publish until no row is pending; pages are read ahead while acknowledgements travel."""
        last, ahead = 0, deque[Page]()
        for _ in range(PAGES_PER_DRAIN):
            await self._keep_lease(marker)
            rows = await reader.fetch(_PENDING, last, PAGE_ROWS)
            if not rows:
                break
            last = rows[-1]["id"]
            ahead.append(await self._send(producer, rows))
            if len(ahead) > PAGES_AHEAD:
                await self._settle(marker, ahead.popleft())
        while ahead:
            await self._settle(marker, ahead.popleft())

    async def _send(self, producer: AIOKafkaProducer, rows: list[asyncpg.Record]) -> Page:
        crash.point("relay.before_send")
        page = Page()
        open_batches: dict[tuple[str, int], tuple[Any, list[int]]] = {}
        for row in rows:
            key = row["key"].encode()
            topic = row["topic"]
            partition = (topic, _hash(key) % len(await producer.partitions_for(topic)))
            headers = [(name, text.encode()) for name, text in json.loads(row["headers"]).items()]
            builder, ids = open_batches.get(partition) or (producer.create_batch(), [])
            message = {"timestamp": None, "key": key, "value": row["payload"], "headers": headers}
            if builder.append(**message) is None:
                await self._dispatch(producer, page, partition, builder, ids)
                builder, ids = producer.create_batch(), []
                builder.append(**message)
            ids.append(row["id"])
            open_batches[partition] = (builder, ids)
        for partition, (builder, ids) in open_batches.items():
            await self._dispatch(producer, page, partition, builder, ids)
            crash.point("relay.mid_batch")
        crash.point("relay.after_send_before_ack")
        return page

    async def _dispatch(
        self,
        producer: AIOKafkaProducer,
        page: Page,
        partition: tuple[str, int],
        builder: Any,
        ids: list[int],
    ) -> None:
        builder.close()
        topic, number = partition
        sending = producer.send_batch(builder, topic, partition=number)
        acknowledged = await asyncio.wait_for(sending, ACK_WITHIN_SECONDS)
        page.batches.append(Batch(partition, ids, acknowledged))

    async def _settle(self, marker: asyncpg.Connection, page: Page) -> None:
        """Wait for the page's acknowledgements and mark the acknowledged rows.

        Raises:
            NotPublished: a batch failed or no answer came; its partition is marked up to it.
        """
        futures = [batch.acknowledged for batch in page.batches]
        await asyncio.wait(futures, timeout=ACK_WITHIN_SECONDS)
        crash.point("relay.after_ack_before_mark")
        broken: set[tuple[str, int]] = set()
        published: list[int] = []
        for batch in page.batches:
            future = batch.acknowledged
            if not future.done() or future.cancelled() or future.exception() is not None:
                broken.add(batch.partition)
            elif batch.partition not in broken:
                published += batch.ids
        await self._keep_lease(marker)
        if published:
            await marker.execute(_MARK, published)
            published_total.inc(len(published))
        if broken:
            raise NotPublished(", ".join(f"{topic}/{number}" for topic, number in sorted(broken)))


@contextlib.asynccontextmanager
async def _connection(url: str) -> Any:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
    try:
        yield connection
    finally:
        connection.terminate()


@contextlib.asynccontextmanager
async def _producer(settings: ServiceSettings) -> Any:
    secured = kafka.security(settings)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers.split(","),
        client_id=f"{settings.kafka_username}.relay",
        security_protocol="SASL_SSL" if settings.kafka_use_ssl else "SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=secured.username,
        sasl_plain_password=secured.password,
        ssl_context=secured.ssl_context,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
    )
    try:
        await producer.start()
        yield producer
    finally:
        # An idempotent producer never gives up a batch, so its stop() can hang.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(producer.stop(), STOP_WITHIN_SECONDS)
