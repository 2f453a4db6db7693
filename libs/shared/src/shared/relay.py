"""Publishes the outbox in order, at least once; the set of unpublished rows is its only state.

One relay leads per schema, by a row lease with a fence: a session lock would let a frozen holder
block the service. Rows are read by `published_at IS NULL` and never by "behind the last id",
because ids are given before commits and become visible out of order. Pages are
settled in the order they were sent, and behind the first failure in a partition nothing is
marked, so that a resend cannot swap two events of one aggregate.
"""

import asyncio
import contextlib
import functools
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from prometheus_client import Counter

from shared import crash, outages, telemetry
from shared.ids import new_id
from shared.producer import kafka_producer
from shared.settings import ServiceSettings

PAGE_ROWS = 1000
PAGES_AHEAD = 2
POLL_SECONDS = 0.25
LEASE_SECONDS = 10
RENEW_SECONDS = 3
ACK_WITHIN_SECONDS = 30
METADATA_WITHIN_SECONDS = 5
FORGET_MISSING_SECONDS = 30
RESTART_SECONDS = 1

_CLAIM = f"""
    UPDATE relay_leases SET holder = $1, fence = fence + 1,
        lease_until = clock() + interval '{LEASE_SECONDS} seconds'
    WHERE name = 'outbox'
        AND (lease_until IS NULL OR lease_until < clock() OR holder = $1) RETURNING fence
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
    WHERE published_at IS NULL AND id <> ALL($1::bigint[]) ORDER BY id LIMIT $2
"""
_MARK = "UPDATE outbox SET published_at = clock() WHERE id = ANY($1::bigint[])"

FAILURES = (*outages.DATABASE, KafkaError)

log = telemetry.get_logger()
published_total = Counter("relay_published_total", "Outbox rows acknowledged by the broker.")

T = TypeVar("T")
Partition = tuple[str, int]


class LeaseLost(Exception):
    """Another relay leads now; at worst it sends some rows a second time."""


class NotPublished(Exception):
    """The broker did not acknowledge a batch; what stands behind it is not marked."""


@functools.lru_cache(maxsize=65536)
def _hash(key: bytes) -> int:
    """Aiokafka's own partitioner; in pure Python it is worth remembering."""
    return int(murmur2(key)) & 0x7FFFFFFF


@dataclass(frozen=True)
class Batch:
    """Rows of one partition that travel together."""

    partition: Partition
    ids: list[int]
    acknowledged: asyncio.Future[Any]

    @property
    def is_acknowledged(self) -> bool:
        future = self.acknowledged
        return future.done() and not future.cancelled() and future.exception() is None


class Relay:
    """The outbox relay of one worker process; it works when it holds the lease."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._holder: UUID = new_id()
        self._fence = 0
        self._lease_ends = 0.0
        self._missing: dict[str, float] = {}
        self._is_stopping = False
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Lead whenever possible; any failure gives the lease back and starts over."""
        while not self._is_stopping:
            try:
                await self._lead()
            except (*FAILURES, LeaseLost, NotPublished) as error:
                log.warning("relay.stopped", reason=f"{type(error).__name__}: {error}"[:200])
                await self._rest(RESTART_SECONDS)

    def stop(self) -> None:
        """Let `run` end once what it has sent is acknowledged and marked."""
        self._is_stopping = True
        self.wake.set()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), seconds)
        if not self._is_stopping:
            self.wake.clear()

    async def _lead(self) -> None:
        url = self._settings.asyncpg_url
        async with contextlib.AsyncExitStack() as stack:
            marker = await stack.enter_async_context(_connection(url))
            # A mark that is lost in a crash costs a duplicate, which the inbox absorbs.
            await marker.execute("SET synchronous_commit = off")
            while not await self._claim(marker):
                if self._is_stopping:
                    return
                await asyncio.sleep(RESTART_SECONDS)
            stack.push_async_callback(self._release, marker)
            reader = await stack.enter_async_context(_connection(url))
            producer = await stack.enter_async_context(kafka_producer(self._settings))
            while not self._is_stopping:
                await self._drain(reader, marker, producer)
                await self._rest(POLL_SECONDS)

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
        """Publish until no row is pending; pages are read ahead while acknowledgements travel.

        Each look is at all that is pending and not under way. "Behind the last id" would miss a row
        that was committed late and send what its aggregate did next before it.

        Raises:
            NotPublished: for some partition; what the others acknowledged is marked.
        """
        ahead, held, broken = deque[list[Batch]](), list[int](), set[Partition]()
        while True:
            await self._keep_lease(marker)
            rows: list[asyncpg.Record] = []
            if not broken and not self._is_stopping:
                under_way = [number for page in ahead for batch in page for number in batch.ids]
                rows = await reader.fetch(_PENDING, under_way + held, PAGE_ROWS)
            if rows:
                ahead.append(await self._send(marker, producer, rows, held))
            elif not ahead:
                break
            if not rows or len(ahead) > PAGES_AHEAD:
                await self._settle(marker, ahead.popleft(), broken)
        if broken:
            raise NotPublished(", ".join(f"{topic}/{number}" for topic, number in sorted(broken)))

    async def _send(
        self,
        marker: asyncpg.Connection,
        producer: AIOKafkaProducer,
        rows: list[asyncpg.Record],
        held: list[int],
    ) -> list[Batch]:
        """Hand the rows to the producer; those whose topic is missing are added to `held`."""
        crash.point("relay.before_send")
        sent: list[Batch] = []

        async def dispatch(partition: Partition, builder: Any, ids: list[int]) -> None:
            topic, number = partition
            builder.close()
            waiting = producer.send_batch(builder, topic, partition=number)
            acknowledged = await self._within(ACK_WITHIN_SECONDS, waiting, marker)
            sent.append(Batch(partition, ids, acknowledged))
            crash.point("relay.mid_batch")

        counts: dict[str, int] = {}
        collected: dict[Partition, tuple[Any, list[int]]] = {}
        for row in rows:
            topic, key = row["topic"], row["key"].encode()
            if topic not in counts:
                counts[topic] = await self._partitions(producer, topic, marker)
            if not counts[topic]:
                held.append(row["id"])
                continue
            partition = (topic, _hash(key) % counts[topic])
            headers = [(name, text.encode()) for name, text in json.loads(row["headers"]).items()]
            message = {"timestamp": None, "key": key, "value": row["payload"], "headers": headers}
            builder, ids = collected.get(partition) or (producer.create_batch(), [])
            if builder.append(**message) is None:
                await dispatch(partition, builder, ids)
                builder, ids = producer.create_batch(), []
                builder.append(**message)
            ids.append(row["id"])
            collected[partition] = builder, ids
        for partition, (builder, ids) in collected.items():
            await dispatch(partition, builder, ids)
        crash.point("relay.after_send_before_ack")
        return sent

    async def _partitions(
        self, producer: AIOKafkaProducer, topic: str, marker: asyncpg.Connection
    ) -> int:
        """How many the topic has; 0 when it is missing or not ours to write."""
        if time.monotonic() < self._missing.get(topic, 0.0):
            return 0
        try:
            asking = producer.partitions_for(topic)
            return len(await self._within(METADATA_WITHIN_SECONDS, asking, marker))
        except (KafkaError, TimeoutError) as error:
            # Asking takes long, and all other topics wait meanwhile.
            self._missing[topic] = time.monotonic() + FORGET_MISSING_SECONDS
            reason = type(error).__name__
            log.error("relay.no_such_topic", topic=topic, reason=reason)  # noqa: TRY400 - no stack
            return 0

    async def _settle(
        self, marker: asyncpg.Connection, page: list[Batch], broken: set[Partition]
    ) -> None:
        """Wait for the page's acknowledgements and mark the acknowledged rows. Behind the first
        failure in a partition nothing is marked; such partitions are added to `broken`.
        """
        if page and not broken:
            waiting = asyncio.wait([batch.acknowledged for batch in page])
            with contextlib.suppress(TimeoutError):
                await self._within(ACK_WITHIN_SECONDS, waiting, marker)
        crash.point("relay.after_ack_before_mark")
        published: list[int] = []
        for batch in page:
            if not batch.is_acknowledged:
                broken.add(batch.partition)
            elif batch.partition not in broken:
                published += batch.ids
        await self._keep_lease(marker)
        if published:
            await marker.execute(_MARK, published)
            published_total.inc(len(published))

    async def _within(
        self, seconds: float, waiting: Coroutine[Any, Any, T], marker: asyncpg.Connection
    ) -> T:
        """Wait, but keep the lease meanwhile.

        Raises:
            TimeoutError: it took longer.
            LeaseLost: the lease ran out.
        """
        task = asyncio.ensure_future(waiting)
        ends = time.monotonic() + seconds
        try:
            while not task.done():
                left = ends - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait({task}, timeout=min(left, RENEW_SECONDS))
                await self._keep_lease(marker)
            return task.result()
        finally:
            task.cancel()


@contextlib.asynccontextmanager
async def _connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
    try:
        yield connection
    finally:
        connection.terminate()
