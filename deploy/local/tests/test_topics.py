"""deploy/kafka/topics.toml agrees with the published events and with who listens."""

import ast
from pathlib import Path

import pytest

from bloxtr8 import kafka
from bloxtr8.home import SERVICES
from shared.events import ALL_EVENTS

ROOT = Path(__file__).parents[3]
ROWS = {row["name"]: row for row in kafka.table()}
DEAD_LETTERS = {f"{service}.dlq" for service in SERVICES}
KEYS = {
    ("root_offer_id",): "offer",
    ("user_id",): "user",
    ("user_id", "game_id"): "user+game",
    ("listing_id",): "listing",
}


def heard(service: str) -> set[str]:
    """The topics of the events that the service's subscribers name in `facts(…)`."""
    topics = {event.__name__: topic for topic, event in ALL_EVENTS.items()}
    source = ROOT / "services" / service / "src" / service / "subscribers.py"
    return {
        topics[argument.id]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) == "facts"
        for argument in node.args
        if isinstance(argument, ast.Name) and argument.id in topics
    }


def test_every_event_has_a_row_and_every_row_an_event() -> None:
    assert set(ROWS) == set(ALL_EVENTS) | DEAD_LETTERS


@pytest.mark.parametrize("topic", sorted(ALL_EVENTS))
def test_a_row_says_what_its_event_says(topic: str) -> None:
    row, event = ROWS[topic], ALL_EVENTS[topic]
    assert (row["writer"], row["compacted"], row["key"], row["partitions"]) == (
        event.source,
        event.compacted,
        KEYS[event.key_fields],
        12,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_read_exactly_what_it_listens_to(service: str) -> None:
    readable = {name for name, row in ROWS.items() if service in row["readers"]}
    assert readable - DEAD_LETTERS == heard(service)


@pytest.mark.parametrize("service", SERVICES)
def test_dead_letters_are_their_services_own_and_stay(service: str) -> None:
    row = ROWS[f"{service}.dlq"]
    assert (row["writer"], row["readers"], row["retention_days"]) == (service, [service], -1)
