"""Publishes the outbox in order, at least once; the set of unpublished rows is its only state.

One relay leads per schema, by a row lease. Rows are read by `published_at IS NULL` and never by
"behind the last id", because ids are given before commits and become visible out of order. Pages
are settled in the order they were sent, and behind the first failure in a partition nothing is
marked, so that a resend cannot swap two events of one aggregate.
"""

import asyncio
import contextlib
import functools
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from prometheus_client import Counter

from shared import crash, outages, telemetry
from shared.ids import new_id
from shared.leases import Lease, LeaseLost
from shared.producer import kafka_producer
from shared.settings import ServiceSettings
from shared.wakeups import APART_SECONDS

PAGE_ROWS = 1000
PAGES_AHEAD = 2
POLL_SECONDS = 0.25
ACK_WITHIN_SECONDS = 30
METADATA_WITHIN_SECONDS = 5
FORGET_MISSING_SECONDS = 30
RESTART_SECONDS = 1

_PENDING = """
    SELECT id, topic, key, payload, headers FROM outbox
    WHERE published_at IS NULL AND id <> ALL($1::bigint[]) ORDER BY id LIMIT $2
"""
_MARK = "UPDATE outbox SET published_at = clock() WHERE id = ANY($1::bigint[])"

FAILURES = (*outages.DATABASE, KafkaError)

log = telemetry.get_logger()
published_total = Counter("relay_published_total", "Outbox rows acknowledged by the broker.")

Partition = tuple[str, int]


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


@dataclass(frozen=True)
class Page:
    """Batches of one look at the table, and the task that settles them after the page before."""

    batches: list[Batch]
    settled: asyncio.Task[None]


class Relay:
    """The outbox relay of one worker process; it works when it holds the lease."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._holder: UUID = new_id()
        self._missing: dict[str, float] = {}
        """Topics, and when to ask for them again."""
        self._look_at = 0.0
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
            lease = Lease(marker, "outbox", self._holder)
            while not await lease.claim():
                if self._is_stopping:
                    return
                await asyncio.sleep(RESTART_SECONDS)
            stack.push_async_callback(lease.release)
            reader = await stack.enter_async_context(_connection(url))
            producer = await stack.enter_async_context(kafka_producer(self._settings))
            while not self._is_stopping:
                await self._drain(reader, lease, producer)
                await self._rest(POLL_SECONDS)

    async def _drain(
        self,
        reader: asyncpg.Connection,
        lease: Lease,
        producer: AIOKafkaProducer,
    ) -> None:
        """Publish until no row is pending; pages are read ahead while acknowledgements travel.

        Each look is at all that is pending and not under way. "Behind the last id" would miss a row
        that was committed late and send what its aggregate did next before it.

        Raises:
            NotPublished: for some partition; what the others acknowledged is marked.
        """
        ahead, held, broken = deque[Page](), list[int](), set[Partition]()
        self._missing = {topic: at for topic, at in self._missing.items() if at > time.monotonic()}
        try:
            while True:
                self.wake.clear()
                await lease.keep()
                rows: list[asyncpg.Record] = []
                if not (broken or self._is_stopping or self._may_have_appeared()):
                    under_way = [n for page in ahead for batch in page.batches for n in batch.ids]
                    rows = await self._look(reader, under_way + held)
                if rows:
                    batches = await self._send(lease, producer, rows, held)
                    before = ahead[-1].settled if ahead else None
                    settling = self._settle(lease, batches, broken, before)
                    ahead.append(Page(batches, asyncio.ensure_future(settling)))
                if not ahead:
                    break
                if not rows or len(ahead) > PAGES_AHEAD:
                    await self._some_settled(ahead[0].settled, may_wake=not rows)
                while ahead and ahead[0].settled.done():
                    ahead.popleft().settled.result()
        finally:
            for page in ahead:
                page.settled.cancel()
            await asyncio.gather(*(page.settled for page in ahead), return_exceptions=True)
        if broken:
            raise NotPublished(", ".join(f"{topic}/{number}" for topic, number in sorted(broken)))

    async def _look(self, reader: asyncpg.Connection, known: list[int]) -> list[asyncpg.Record]:
        """The next page of what is pending and not known."""
        if (early := self._look_at - time.monotonic()) > 0:
            await asyncio.sleep(early)
        rows = await reader.fetch(_PENDING, known, PAGE_ROWS)
        is_full = len(rows) == PAGE_ROWS
        self._look_at = 0 if is_full else time.monotonic() + APART_SECONDS
        return rows

    def _may_have_appeared(self) -> bool:
        """A missing topic is asked for again by the next drain: in this one, later rows of it
        would go before those that are held.
        """
        return any(at <= time.monotonic() for at in self._missing.values())

    async def _some_settled(self, settled: asyncio.Task[None], *, may_wake: bool) -> None:
        """Wait for a page; if asked to, also for new rows, which need not wait for it."""
        if not may_wake or self._is_stopping:
            await asyncio.wait({settled})
            return
        woken = asyncio.ensure_future(self.wake.wait())
        await asyncio.wait({settled, woken}, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()

    async def _send(
        self,
        lease: Lease,
        producer: AIOKafkaProducer,
        rows: list[asyncpg.Record],
        held: list[int],
    ) -> list[Batch]:
        """Hand the rows to the producer; those whose topic is missing are added to `held`."""
        crash.point("relay.before_send")
        sent: list[Batch] = []

        async def hand_over(partition: Partition, builder: Any, ids: list[int]) -> None:
            topic, number = partition
            builder.close()
            acknowledged = await producer.send_batch(builder, topic, partition=number)
            sent.append(Batch(partition, ids, acknowledged))
            crash.point("relay.mid_batch")

        counts: dict[str, int] = {}
        collected: dict[Partition, tuple[Any, list[int]]] = {}
        for row in rows:
            topic, key = row["topic"], row["key"].encode()
            if topic not in counts:
                counts[topic] = await self._partitions(producer, topic, lease)
            if not counts[topic]:
                held.append(row["id"])
                continue
            partition = (topic, _hash(key) % counts[topic])
            headers = [(name, text.encode()) for name, text in json.loads(row["headers"]).items()]
            message = {"timestamp": None, "key": key, "value": row["payload"], "headers": headers}
            builder, ids = collected.get(partition) or (producer.create_batch(), [])
            if builder.append(**message) is None:
                await lease.within(ACK_WITHIN_SECONDS, hand_over(partition, builder, ids))
                builder, ids = producer.create_batch(), []
                builder.append(**message)
            ids.append(row["id"])
            collected[partition] = builder, ids
        # All at once: the producer has one request on its way, and would make two of them.
        last = asyncio.gather(*(hand_over(place, *batch) for place, batch in collected.items()))
        await lease.within(ACK_WITHIN_SECONDS, last)
        crash.point("relay.after_send_before_ack")
        return sent

    async def _partitions(self, producer: AIOKafkaProducer, topic: str, lease: Lease) -> int:
        """How many the topic has; 0 when it is missing or not ours to write."""
        if topic in self._missing:
            return 0
        try:
            asking = producer.partitions_for(topic)
            return len(await lease.within(METADATA_WITHIN_SECONDS, asking))
        except (KafkaError, TimeoutError) as error:
            # Asking takes long, and all other topics wait meanwhile.
            self._missing[topic] = time.monotonic() + FORGET_MISSING_SECONDS
            reason = type(error).__name__
            log.error("relay.no_such_topic", topic=topic, reason=reason)  # noqa: TRY400 - no stack
            return 0

    async def _settle(
        self,
        lease: Lease,
        page: list[Batch],
        broken: set[Partition],
        before: asyncio.Task[None] | None,
    ) -> None:
        """Wait for the page before and for this one's acknowledgements, then mark what has one.
        Behind the first failure in a partition nothing is marked; it is added to `broken`.
        """
        if before is not None:
            await before
        if page and not broken:
            waiting = asyncio.wait([batch.acknowledged for batch in page])
            with contextlib.suppress(TimeoutError):
                await lease.within(ACK_WITHIN_SECONDS, waiting)
        crash.point("relay.after_ack_before_mark")
        published: list[int] = []
        for batch in page:
            if not batch.is_acknowledged:
                broken.add(batch.partition)
            elif batch.partition not in broken:
                published += batch.ids
        await lease.keep()
        if published:
            await lease.execute(_MARK, published)
            published_total.inc(len(published))


@contextlib.asynccontextmanager
async def _connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
    try:
        yield connection
    finally:
        connection.terminate()
