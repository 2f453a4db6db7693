"""A message nobody can read goes to the dead letters with its reason; the partition moves on."""

import json
from uuid import uuid4

import pytest

from bloxtr8.trade import Trade
from shared.testing import Stack, eventually, fetch

HEADERS = {
    "ce_specversion": "1.0",
    "ce_type": "contract.executed",
    "ce_source": "/contracts",
    "ce_subject": "x",
    "ce_time": "2026-11-23T12:00:00Z",
    "ce_sequence": "1",
    "content-type": "application/json",
}


def _named(**changes: str) -> dict[str, str]:
    return HEADERS | {"ce_id": str(uuid4())} | changes


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"{ not json", _named(), "Invalid JSON"),
        (b"\xff\xfe\x00", _named(), "Error"),
        (json.dumps({"version": 1}).encode(), _named(), "ValidationError"),
        (b"{}", {"content-type": "application/json"}, "Error"),
        (b"{}", _named(ce_type="contract.invented"), "no handler for contract.invented"),
    ],
    ids=["no JSON", "no text", "wrong shape", "no envelope", "unknown fact"],
)
async def test_the_unreadable_is_buried_and_the_next_message_is_handled(
    stack: Stack, trade: Trade, value: bytes, headers: dict[str, str], reason: str
) -> None:
    mark = str(uuid4())
    async with stack.producer("contracts") as producer:
        sent = await producer.send_and_wait(
            "contract.executed",
            value,
            key=mark.encode(),
            headers=[(name, text.encode()) for name, text in headers.items()],
        )

    async def it_is_among_the_dead() -> None:
        letters = [r for r in await stack.read("escrow.dlq") if r.key == mark.encode()]
        assert [letter.value for letter in letters] == [value]
        said = {name: text.decode() for name, text in letters[0].headers}
        assert reason in said["dead_reason"]
        position = (said["dead_topic"], said["dead_partition"], said["dead_offset"])
        assert position == ("contract.executed", str(sent.partition), str(sent.offset))

    await eventually(it_is_among_the_dead, within_seconds=30)
    claimed = await fetch(
        stack.owner_dsn("escrow"),
        "SELECT 1 FROM inbox WHERE event_id::text = $1",
        headers.get("ce_id", ""),
    )
    assert claimed == []
    await trade.go(trade.agreement, trade.execution)
    assert trade.escrow["status"] == "AWAIT_FUNDS"
