"""Partitions are worked off side by side, each in order; offsets follow what is committed.

A message is one transaction. Nothing waits for the end of a batch, so a slow message delays its own
partition alone.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError

from shared.consuming import GivenBack, Record, Settling

SIDE_BY_SIDE = 4
"""One less than the connection pool has, for jobs and deadlines share it."""
WAITING_MESSAGES = 1000
ROOM_WITHIN_SECONDS = 60
"""Waiting longer would bring the consumer near `max_poll_interval_ms` and out of its group."""
COMMITS_APART_SECONDS = 0.2
COMMIT_WITHIN_SECONDS = 5


class Lanes:
    """What one consumer has taken and not settled yet, a lane for each partition."""

    def __init__(self, settling: Settling) -> None:
        self._settling = settling
        self._flow = settling.flow
        self._slots = asyncio.Semaphore(SIDE_BY_SIDE)
        self._moved = asyncio.Event()
        self._lanes: dict[TopicPartition, deque[Record]] = {}
        self._settled: dict[TopicPartition, int] = {}
        self._is_committing = False

    async def take(self, records: Sequence[Record], consumer: AIOKafkaConsumer | None) -> None:
        """Queue the messages as soon as there is room, else ask for them again.

        Without a consumer (FastStream's test broker) they are settled before this returns.
        """
        if not await self._has_room():
            for record in reversed(records):  # each partition ends up at its first
                _seek(consumer, record)
            return
        for record in records:
            place = TopicPartition(record.topic, record.partition)
            if place in self._lanes:
                self._lanes[place].append(record)
            else:
                self._lanes[place] = deque([record])
                self._flow.begin(self._work_off(place, consumer))
        if consumer is None:
            await self._flow.finish(ROOM_WITHIN_SECONDS)

    async def _has_room(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ROOM_WITHIN_SECONDS):
                while sum(map(len, self._lanes.values())) >= WAITING_MESSAGES:
                    self._moved.clear()
                    await self._moved.wait()
                return not self._flow.hurry.is_set()
        return False

    async def _work_off(self, place: TopicPartition, consumer: AIOKafkaConsumer | None) -> None:
        """In a hurry what is left is dropped: its next owner begins behind the last commit."""
        waiting = self._lanes[place]
        try:
            while waiting and not self._flow.hurry.is_set():
                async with self._slots:
                    is_handled = await self._settling.settle(waiting[0])
                self._settled[place] = waiting.popleft().offset + 1
                self._moved.set()
                if not is_handled:
                    # A dead letter has no row in the inbox that would keep it from being repeated.
                    await self._commit(consumer)
                elif not self._is_committing:
                    self._is_committing = True
                    self._flow.begin(self._commit_all(consumer))
        except GivenBack:
            pass
        finally:
            del self._lanes[place]
            self._moved.set()

    async def _commit_all(self, consumer: AIOKafkaConsumer | None) -> None:
        try:
            while self._settled:
                await self._commit(consumer)
                await self._flow.rest(COMMITS_APART_SECONDS)
        finally:
            self._is_committing = False

    async def _commit(self, consumer: AIOKafkaConsumer | None) -> None:
        """A commit that fails costs repeats, which the inbox absorbs."""
        settled, self._settled = self._settled, {}
        if consumer is not None:
            with contextlib.suppress(KafkaError, ConsumerStoppedError, TimeoutError):
                async with asyncio.timeout(COMMIT_WITHIN_SECONDS):
                    await consumer.commit(settled)


def _seek(consumer: AIOKafkaConsumer | None, record: Record) -> None:
    if consumer is not None:
        # No longer ours: then its next owner begins behind the last commit.
        with contextlib.suppress(IllegalStateError):
            consumer.seek(TopicPartition(record.topic, record.partition), record.offset)
