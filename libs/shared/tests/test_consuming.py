"""A fact takes effect once; what nobody can handle is set aside with its reason, and nothing waits
behind it.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from hypothesis import example, given
from hypothesis import strategies as st
from libs.shared.tests.conftest import Start
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import kafka, telemetry
from shared.consumers import Consumers
from shared.database import Sessions
from shared.dead_letters import as_bytes, as_text
from shared.relay import Relay
from shared.testing import Stack, eventually, headers_of
from shared.testing.probe import Happened, ProbeSettings, add_effect

Message = tuple[bytes | None, bytes, list[tuple[str, bytes | None]]]
Handler = Callable[[Happened], Awaitable[None]]


def message(number: int, **changed: str) -> Message:
    """Key, body and headers of a fact; `changed` replaces headers, an empty one is left out."""
    event = Happened(version=1, thing_id=uuid4(), number=number)
    encoded: list[tuple[str, bytes | None]] = [
        (name, value.encode()) for name, value in (headers_of(event) | changed).items() if value
    ]
    return event.key.encode(), event.model_dump_json().encode(), encoded


async def send(stack: Stack, messages: list[Message], partition: int = 0) -> None:
    async with stack.producer("admin") as producer:
        for key, body, headers in messages:
            await producer.send_and_wait(
                Happened.topic, body, key=key, headers=headers, partition=partition
            )


@contextlib.asynccontextmanager
async def consuming(
    settings: ProbeSettings, sessions: Sessions, handle: Handler
) -> AsyncIterator[None]:
    """The product's consumers with one handler, `handle`."""

    def subscribe(broker: KafkaBroker) -> None:
        kafka.facts(broker, settings, Happened)(filter=kafka.is_a(Happened))(handle)

    consumers = Consumers(settings, sessions, subscribe)
    task = asyncio.create_task(consumers.run())
    yield
    consumers.stop()
    await asyncio.wait_for(task, 20)


async def note(event: Happened) -> None:
    await add_effect(kafka.current_session(), f"event {event.number}")


async def effects(owner: asyncpg.Connection) -> list[str]:
    return [row["cause"] for row in await owner.fetch("SELECT cause FROM effects ORDER BY id")]


def has_effects(owner: asyncpg.Connection, *causes: str) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        assert await effects(owner) == list(causes)

    return check


async def dead(owner: asyncpg.Connection) -> list[dict[str, Any]]:
    return [
        dict(row)
        for row in await owner.fetch(
            "SELECT key, payload, headers::text::json AS headers,"
            " headers ->> 'dead_reason' AS reason, headers ->> 'dead_tries' AS tries"
            " FROM outbox WHERE topic = 'admin.dlq' ORDER BY id"
        )
    ]


async def test_what_cannot_be_read_is_set_aside_and_the_partition_moves_on(
    kafka_stack: Stack, settings: ProbeSettings, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    key, body, headers = message(1)
    unreadable: list[tuple[Message, str]] = [
        ((key, b"\xff\xfe", headers), "ValidationError"),
        ((key, b'{"version": 1}', headers), "ValidationError"),
        ((None, body, [*headers, ("empty", None)]), "Unreadable: The header empty has no value."),
        ((b"\xff\0", body, [*headers, ("odd", b"\xff")]), "UnicodeDecodeError"),
        (message(1, ce_id=""), "ValidationError"),
        (message(1, ce_type="probe.unknown"), "Unreadable: admin has no handler"),
    ]
    async with consuming(settings, sessions, note):
        await send(kafka_stack, [*(sent for sent, _ in unreadable), message(7)])
        await eventually(has_effects(owner, "event 7"))
    letters = await dead(owner)
    assert [
        letter["reason"][: len(reason)]
        for letter, (_, reason) in zip(letters, unreadable, strict=True)
    ] == [reason for _, reason in unreadable]
    assert {letter["tries"] for letter in letters} == {"1"}
    assert await owner.fetchval("SELECT count(*) FROM inbox") == 1
    # The dead letters arrive with the bytes, keys and headers that were sent.
    relay = Relay(settings)
    running = asyncio.create_task(relay.run())

    async def published() -> None:
        assert not await owner.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")

    await eventually(published)
    relay.stop()
    await running
    buried = {
        (record.value, name, value)
        for record in await kafka_stack.read("admin.dlq")
        for name, value in record.headers
    }
    position = f"{Happened.topic}/0/"
    assert (b"\xff\xfe", "dead_topic", b"probe.happened") in buried
    assert (b"\xff\xfe", "dead_partition", b"0") in buried
    assert (body, "empty", b"null:") in buried
    assert (body, "odd", as_text(b"\xff").encode()) in buried
    assert await owner.fetchval(
        "SELECT count(*) FROM outbox WHERE aggregate_id LIKE 'dead:' || $1 || '%'", position
    ) == len(unreadable)


@given(st.none() | st.binary())
@example(b"base64:")
@example(b"null:")
@example(b"a\0b")
def test_any_key_or_header_can_be_read_back_from_a_dead_letter(value: bytes | None) -> None:
    text = as_text(value)
    assert "\0" not in text
    assert as_bytes(text) == value


async def test_a_handler_that_fails_five_times_leaves_no_trace_but_a_dead_letter(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.consuming.FIRST_BACKOFF_SECONDS", 0.01)
    tried: list[int] = []

    async def fail_on_one(event: Happened) -> None:
        tried.append(event.number)
        await note(event)
        if event.number == 1:
            raise ZeroDivisionError("one")

    async with consuming(settings, sessions, fail_on_one):
        await send(kafka_stack, [message(1), message(2)])
        await eventually(has_effects(owner, "event 2"))
    [letter] = await dead(owner)
    assert (letter["reason"], letter["tries"]) == ("ZeroDivisionError: one", "5")
    assert tried == [1, 1, 1, 1, 1, 2]
    assert await owner.fetchval("SELECT count(*) FROM inbox") == 1


async def test_an_outage_is_waited_out_however_often_it_strikes(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.consuming.FIRST_BACKOFF_SECONDS", 0.001)
    strikes = [
        *(ConnectionResetError(), TimeoutError(), OSError("refused"), ConnectionRefusedError()),
        *(asyncpg.CannotConnectNowError("starting up"), asyncpg.InterfaceError("closed")),
        sa.exc.TimeoutError("pool"),
    ]
    ended: list[bool] = []

    async def handle(event: Happened) -> None:
        await note(event)
        if strikes:
            raise strikes.pop()
        if event.number == 1:
            # The server ends the connection, once.
            end = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")
            if not ended:
                ended.append(True)
                await kafka.current_session().execute(end)

    async with consuming(settings, sessions, handle):
        await send(kafka_stack, [message(1), message(2)])
        await eventually(has_effects(owner, "event 1", "event 2"))
    assert (strikes, ended) == ([], [True])
    assert await dead(owner) == []


async def test_repeats_are_absorbed_across_partitions(
    kafka_stack: Stack, settings: ProbeSettings, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    repeated = message(1)
    async with consuming(settings, sessions, note):
        for partition in range(3):
            await send(kafka_stack, [repeated] * 5, partition)
        await send(kafka_stack, [message(2)])
        await eventually(lambda: is_caught_up(kafka_stack))
    assert sorted(await effects(owner)) == ["event 1", "event 2"]


async def is_caught_up(stack: Stack) -> None:
    assert await stack.lag("admin") == 0


async def test_an_unreadable_message_is_not_let_go_until_it_is_recorded(
    kafka_stack: Stack, settings: ProbeSettings, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    key, body, headers = message(1)
    await owner.execute("REVOKE INSERT ON outbox FROM probe_app")
    try:
        async with consuming(settings, sessions, note):
            await send(kafka_stack, [(key, body, [*headers, ("empty", None)]), message(2)])
            await send(kafka_stack, [message(3)], partition=1)
            await eventually(has_effects(owner, "event 3"))
        # Stopped while it waits; the next consumer gets the message again.
        assert await dead(owner) == []
    finally:
        await owner.execute("GRANT INSERT ON outbox TO probe_app")
    async with consuming(settings, sessions, note):
        await eventually(has_effects(owner, "event 3", "event 2"))
    assert len(await dead(owner)) == 1


async def test_a_message_that_takes_long_delays_its_own_partition_alone(
    kafka_stack: Stack, settings: ProbeSettings, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    may_go = asyncio.Event()

    async def handle(event: Happened) -> None:
        if event.number == 1:
            await may_go.wait()
        await note(event)

    async def only_the_others_are_committed() -> None:
        assert await kafka_stack.lag("admin") == 2

    async with consuming(settings, sessions, handle):
        await send(kafka_stack, [message(0)])
        await eventually(has_effects(owner, "event 0"))
        await send(kafka_stack, [message(1), message(2)])
        await send(kafka_stack, [message(3), message(4)], partition=1)
        await eventually(has_effects(owner, "event 0", "event 3", "event 4"))
        await eventually(only_the_others_are_committed)
        may_go.set()
        everything = [f"event {number}" for number in (0, 3, 4, 1, 2)]
        await eventually(has_effects(owner, *everything))


async def test_what_there_is_no_room_for_is_asked_for_again_in_its_order(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.lanes.WAITING_MESSAGES", 2)
    monkeypatch.setattr("shared.lanes.ROOM_WITHIN_SECONDS", 0.05)
    asked_again = asyncio.Event()
    seek = AIOKafkaConsumer.seek

    def seek_and_tell(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> None:
        asked_again.set()
        seek(consumer, place, offset)

    async def handle(event: Happened) -> None:
        await asked_again.wait()
        await note(event)

    monkeypatch.setattr(AIOKafkaConsumer, "seek", seek_and_tell)
    sent = 0
    async with consuming(settings, sessions, handle), asyncio.timeout(30):
        while not asked_again.is_set():
            sent += 1
            await send(kafka_stack, [message(sent)])
        await eventually(has_effects(owner, *(f"event {n + 1}" for n in range(sent))))


@pytest.mark.parametrize("name", ["cons.after_poll", "cons.after_commit_before_offset"])
async def test_a_consumer_that_is_killed_is_replaced_and_the_effect_happens_once(
    kafka_stack: Stack,
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    started: Start,
    name: str,
) -> None:
    await send(kafka_stack, [message(1)])
    async with started(settings.model_copy(update={"crash_at": name})) as process:
        assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    async with consuming(settings, sessions, note):
        await send(kafka_stack, [message(2)])
        await eventually(has_effects(owner, "event 1", "event 2"), 20)


async def test_the_trace_goes_from_the_writer_through_the_topic_to_the_handler(
    kafka_stack: Stack, settings: ProbeSettings, sessions: Sessions, owner: asyncpg.Connection
) -> None:
    spans = InMemorySpanExporter()
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    carried: Mapping[str, str] = {}

    async def handle(event: Happened) -> None:
        nonlocal carried
        carried = telemetry.carry()
        await note(event)

    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "correlation_id": "trade 1"}
    async with consuming(settings, sessions, handle):
        await send(kafka_stack, [message(1, **headers)])
        await eventually(has_effects(owner, "event 1"))
    [span] = [one for one in spans.get_finished_spans() if one.name == "probe.happened process"]
    assert span.context is not None
    assert trace.format_trace_id(span.context.trace_id) == trace_id
    assert carried == {
        "traceparent": f"00-{trace_id}-{trace.format_span_id(span.context.span_id)}-01",
        "correlation_id": "trade 1",
    }


@pytest.mark.filterwarnings("ignore:AckPolicy")
@pytest.mark.parametrize("policy", [one for one in AckPolicy if one is not AckPolicy.NACK_ON_ERROR])
def test_any_other_ack_policy_is_refused(
    settings: ProbeSettings, sessions: Sessions, policy: AckPolicy
) -> None:
    broker = kafka.create_broker(settings, sessions)
    kafka.facts(broker, settings, Happened)
    kafka.assert_safe(broker)
    broker.subscriber("probe.careless", group_id="admin", ack_policy=policy)
    with pytest.raises(RuntimeError, match=r"probe\.careless must be NACK_ON_ERROR"):
        kafka.assert_safe(broker)
