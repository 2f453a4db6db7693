"""The invariants that the database alone cannot show: documents in S3, events in Kafka's topics."""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import boto3
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from bloxtr8 import kafka, objects
from bloxtr8.home import SERVICES, Home
from bloxtr8.verification import Finding

SIDE_BY_SIDE = 8
CHUNK_BYTES = 1 << 20
READ_WITHIN_SECONDS = 30

_RECORDED = """
SELECT event_id::text, topic, published_at > {service}.clock() - interval '6 days' AS is_due
FROM {service}.outbox
"""
"""Due: published, and a day less ago than topics keep events, so that none was just removed."""
_DOCUMENTS = """
SELECT id, 'to sign' AS what, split_part(pdf_url, '/', 3) AS bucket,
    substr(pdf_url, length('s3://' || split_part(pdf_url, '/', 3) || '/') + 1) AS key,
    pdf_version_id AS version, sha256
FROM contracts.contracts WHERE sha256 IS NOT NULL
UNION ALL
SELECT id, 'sealed', split_part(pdf_url, '/', 3), sealed_key, sealed_version_id, sealed_sha256
FROM contracts.contracts WHERE sealed_sha256 IS NOT NULL
"""


@dataclass(frozen=True)
class Kept:
    """An event as a topic has it; events are listed in the order of their partition."""

    topic: str
    event_id: str
    aggregate_id: str
    sequence: int


async def run(home: Home, auditor_url: str, progress: Callable[[str], None]) -> list[Finding]:
    """Check documents and topics; `progress` is told what is looked at.

    Raises:
        OSError, asyncpg.PostgresError: the database cannot be asked.
        kafka.KafkaException: the broker cannot.
    """
    connection = await asyncpg.connect(auditor_url, timeout=10)
    try:
        progress("documents")
        documents = [dict(row) for row in await connection.fetch(_DOCUMENTS)]
        altered = _altered(home, documents)
        progress("topics")
        # The outbox is read last: what a topic has was recorded before.
        kept = list(_events(home))
        recorded = [
            dict(row)
            for service in SERVICES
            for row in await connection.fetch(_RECORDED.format(service=service))
        ]
    finally:
        await connection.close()
    return [
        Finding(
            "I15-topic-complete",
            "Topics and outboxes have the same events.",
            _other(kept, recorded),
        ),
        Finding("I16-topic-order", "An aggregate's events are in their order.", disordered(kept)),
        Finding("I21-doc-hash", "Every document in S3 has the hash that was signed.", altered),
    ]


def _altered(home: Home, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    key, secret = objects.keys(home, "escrow")
    s3 = boto3.client(
        "s3",
        endpoint_url=objects.endpoint(home),
        region_name=objects.REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )

    def found(document: dict[str, Any]) -> str:
        place = {"Bucket": document["bucket"], "Key": document["key"]}
        try:
            with closing(s3.get_object(**place, VersionId=document["version"])["Body"]) as body:
                digest = hashlib.sha256()
                for chunk in body.iter_chunks(CHUNK_BYTES):
                    digest.update(chunk)
                return digest.hexdigest()
        except (BotoCoreError, ClientError) as error:
            return f"not readable: {error}"

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        hashes = pool.map(found, documents)
        return [
            {"contract_id": str(document["id"]), "document": document["what"], "found": seen}
            for document, seen in zip(documents, hashes, strict=True)
            if seen != document["sha256"]
        ]


def _topics(*, compacted: bool = True) -> list[str]:
    """The topics of facts; dead letters are copies."""
    return [
        row["name"]
        for row in kafka.table()
        if not row["name"].endswith(".dlq") and (compacted or not row["compacted"])
    ]


def _events(home: Home) -> Iterator[Kept]:
    """Every event in the services' topics, each partition from its first to its present end."""
    consumer = Consumer(
        kafka.administrator_login(home)
        | {
            "group.id": f"verify-{uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    with closing(consumer):
        ends: dict[tuple[str, int | None], TopicPartition] = {}
        known = consumer.list_topics(timeout=READ_WITHIN_SECONDS).topics
        for topic in _topics():
            for number in known[topic].partitions:
                place = TopicPartition(topic, number, OFFSET_BEGINNING)
                first, end = consumer.get_watermark_offsets(place, READ_WITHIN_SECONDS)
                if first < end:
                    ends[topic, number] = place
        consumer.assign(list(ends.values()))
        while ends:
            # One by one: `consume` would wait until it has as many as it was asked for.
            message = consumer.poll(READ_WITHIN_SECONDS)
            if message is None:
                raise TimeoutError(f"Kafka sent nothing for {READ_WITHIN_SECONDS} s.")
            if message.error() is not None:
                ends.pop((str(message.topic()), message.partition()), None)
            elif (event := _kept(message)) is not None:
                yield event


def _kept(message: Message) -> Kept | None:
    """None for what is no event of ours: consumers set that aside as a dead letter."""
    headers: Any = dict(message.headers() or [])
    try:
        names = (headers[name].decode() for name in ("ce_id", "ce_subject", "ce_sequence"))
        event_id, aggregate_id, sequence = names
        return Kept(str(message.topic()), event_id, aggregate_id, int(sequence))
    except (KeyError, AttributeError, ValueError):
        return None


def _other(kept: list[Kept], recorded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lasting = set(_topics(compacted=False))
    in_topics = {event.event_id for event in kept}
    in_outboxes = {row["event_id"] for row in recorded}
    missing = [
        {"event_id": row["event_id"], "topic": row["topic"], "missing": "in the topic"}
        for row in recorded
        if row["is_due"] and row["event_id"] not in in_topics and row["topic"] in lasting
    ]
    strange = [
        {"event_id": event.event_id, "topic": event.topic, "missing": "in the outbox"}
        for event in {event.event_id: event for event in kept}.values()
        if event.event_id not in in_outboxes
    ]
    return missing + strange


def disordered(kept: list[Kept]) -> list[dict[str, Any]]:
    """Repeats are allowed: only the first time an event is seen counts."""
    seen: set[str] = set()
    last: dict[tuple[str, str], Kept] = {}
    found = []
    for event in kept:
        if event.event_id in seen:
            continue
        seen.add(event.event_id)
        before = last.get((event.topic, event.aggregate_id))
        if before is not None and before.sequence >= event.sequence:
            found.append(
                {
                    "event_id": event.event_id,
                    "topic": event.topic,
                    "aggregate_id": event.aggregate_id,
                    "sequences": json.dumps([before.sequence, event.sequence]),
                }
            )
        last[event.topic, event.aggregate_id] = event
    return found
