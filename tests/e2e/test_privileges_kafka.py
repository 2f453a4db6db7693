"""Every login tries to write and read every topic and to join every group; exactly what
deploy/kafka/topics.toml grants works.
"""

import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.errors import NoError, TopicAuthorizationFailedError
from aiokafka.protocol.fetch import FetchRequest
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka.admin import AdminClient, NewTopic

from shared.testing import Stack

SERVICES = ("identity", "listings", "contracts", "escrow")
TABLE = Path(__file__).parents[2] / "deploy" / "kafka" / "topics.toml"
TOPICS: dict[str, dict[str, Any]] = {
    row["name"]: row for row in tomllib.loads(TABLE.read_text())["topics"]
}
BROKER = 1
MEBIBYTE = 1024 * 1024
STRANGE_GROUP = "frontend"
WITHIN_SECONDS = 30
NEXT_WEEK_MS = 7 * 86_400_000


def login(stack: Stack, principal: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": stack.kafka_bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": principal,
        "sasl.password": stack.kafka_password(principal),
        "log_level": 0,
    }


def writable(stack: Stack, principal: str) -> set[str]:
    """Topics this login may write.

    The messages are dated next week: the broker checks the login, then refuses the date, so nothing
    is left behind.
    """
    known: dict[str, bool] = {}

    def answered(topic: str) -> Callable[[KafkaError | None, Message], None]:
        def note(error: KafkaError | None, _: Message) -> None:
            assert error is not None
            codes = {
                KafkaError.INVALID_TIMESTAMP: True,
                KafkaError.TOPIC_AUTHORIZATION_FAILED: False,
            }
            known[topic] = codes[error.code()]

        return note

    producer = Producer(login(stack, principal) | {"message.timeout.ms": WITHIN_SECONDS * 1000})
    moment = int(time.time() * 1000) + NEXT_WEEK_MS
    for topic in TOPICS:
        producer.produce(topic, b"{}", b"probe", on_delivery=answered(topic), timestamp=moment)
    assert producer.flush(WITHIN_SECONDS) == 0
    return {topic for topic, allowed in known.items() if allowed}


async def readable(stack: Stack, principal: str) -> set[str]:
    """Topics this login may fetch from: one request for all, whose answer has a code for each."""
    async with stack.consumer(principal) as consumer:
        request = FetchRequest(0, 0, MEBIBYTE, 0, [(topic, [(0, 0, 0)]) for topic in TOPICS])
        answer = await consumer._client.send(BROKER, request)
    codes = {topic: partition[1] for topic, [partition] in answer.topics}
    assert set(codes) == set(TOPICS)
    assert set(codes.values()) == {NoError.errno, TopicAuthorizationFailedError.errno}
    return {topic for topic, code in codes.items() if code == NoError.errno}


def can_join(stack: Stack, principal: str, group: str) -> bool:
    own = next(topic for topic, row in TOPICS.items() if principal in row["readers"])
    joined: list[bool] = []
    consumer = Consumer(
        login(stack, principal)
        | {"group.id": group, "enable.auto.commit": False, "session.timeout.ms": 6000}
    )
    consumer.subscribe([own], on_assign=lambda *_: joined.append(True))
    deadline = time.monotonic() + WITHIN_SECONDS
    try:
        while not joined:
            assert time.monotonic() < deadline
            message = consumer.poll(0.2)
            error = message.error() if message is not None else None
            if error is not None:
                assert error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
                return False
    finally:
        consumer.close()
    return True


def test_each_login_writes_exactly_its_own_topics(infrastructure: Stack) -> None:
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        found = dict(
            zip(
                SERVICES, pool.map(lambda who: writable(infrastructure, who), SERVICES), strict=True
            )
        )
    assert found == {
        service: {topic for topic, row in TOPICS.items() if row["writer"] == service}
        for service in SERVICES
    }


async def test_each_login_reads_exactly_the_listed_topics(infrastructure: Stack) -> None:
    found = {service: await readable(infrastructure, service) for service in SERVICES}
    assert found == {
        service: {topic for topic, row in TOPICS.items() if service in row["readers"]}
        for service in SERVICES
    }


def test_each_login_joins_its_own_group_and_no_other(infrastructure: Stack) -> None:
    pairs = [(who, group) for who in SERVICES for group in (*SERVICES, STRANGE_GROUP)]
    with ThreadPoolExecutor(len(pairs)) as pool:
        joined = list(pool.map(lambda pair: can_join(infrastructure, *pair), pairs))
    assert {pair for pair, allowed in zip(pairs, joined, strict=True) if allowed} == {
        (service, service) for service in SERVICES
    }


async def test_a_forged_fact_is_refused_by_the_broker(infrastructure: Stack) -> None:
    before = len(await infrastructure.read("contract.executed"))
    forged: dict[str, str | bytes | None] = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_type": "contract.executed",
        "ce_source": "/contracts",
        "ce_subject": str(uuid4()),
        "ce_sequence": "1",
    }
    errors: list[KafkaError | None] = []
    producer = Producer(login(infrastructure, "listings") | {"enable.idempotence": True})
    producer.produce(
        "contract.executed",
        b"{}",
        b"key",
        headers=forged,
        on_delivery=lambda error, _: errors.append(error),
    )
    assert producer.flush(WITHIN_SECONDS) == 0
    [error] = errors
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert len(await infrastructure.read("contract.executed")) == before


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_make_no_topic(infrastructure: Stack, service: str) -> None:
    client = AdminClient(login(infrastructure, service))
    [made] = client.create_topics([NewTopic(f"probe.{service}", 1)]).values()
    with pytest.raises(KafkaException) as refused:
        made.result(WITHIN_SECONDS)
    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    admin = AdminClient(login(infrastructure, "admin"))
    assert f"probe.{service}" not in admin.list_topics(timeout=WITHIN_SECONDS).topics


@pytest.mark.parametrize("changed", [{"sasl.password": "wrong"}, {"sasl.username": "nobody"}])
def test_an_unknown_login_is_refused(infrastructure: Stack, changed: dict[str, str]) -> None:
    said: list[str] = []
    settings = login(infrastructure, "escrow") | changed
    client = AdminClient(settings | {"error_cb": lambda error: said.append(error.str())})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=1)
    client.poll(0)
    assert "Authentication failed during authentication" in " ".join(said)


def test_no_login_is_refused(infrastructure: Stack) -> None:
    settings: dict[str, Any] = {
        "bootstrap.servers": infrastructure.kafka_bootstrap,
        "log_level": 0,
    }
    with pytest.raises(KafkaException) as refused:
        AdminClient(settings).list_topics(timeout=1)
    assert refused.value.args[0].code() == KafkaError._TRANSPORT
