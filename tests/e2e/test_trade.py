"""The whole story: one trade from sign-in to payout, executed once and paid once."""

import hashlib
import json
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pypdf import PdfReader

from bloxtr8.trade import Trade
from bloxtr8.trader import Refused, Trader
from shared.testing import Stack, eventually

TRADE_FACTS = {
    "offer.created": 2,
    "offer.countered": 1,
    "offer.accepted": 1,
    "contract.created": 1,
    "contract.signed": 1,
    "contract.executed": 1,
    "escrow.created": 1,
    "escrow.funded": 1,
    "escrow.delivered": 1,
    "escrow.released": 1,
}


async def outbox_of(stack: Stack, service: str, root_offer_id: str) -> list[dict[str, Any]]:
    """Every event of one trade that a service has recorded."""
    connection = await asyncpg.connect(stack.owner_dsn(service))
    try:
        rows = await connection.fetch(
            "SELECT topic, key, headers, published_at FROM outbox WHERE key = $1", root_offer_id
        )
    finally:
        await connection.close()
    return [dict(row) | {"headers": json.loads(row["headers"])} for row in rows]


async def test_a_trade_is_executed_once_and_paid_once(stack: Stack, trade: Trade) -> None:
    await trade.go(trade.agreement, trade.execution, trade.settlement)

    assert trade.ledger_sums() == {"USD": 0}
    async with httpx.AsyncClient(base_url=stack.simulators_url) as world:
        objects = (await world.get("/stripe/_sim/objects")).json()
    ours = [t for t in objects["transfer"] if t["transfer_group"] == trade.escrow["id"]]
    assert [transfer["amount"] for transfer in ours] == [438_750]
    paid = [p for p in objects["payment_intent"] if p["transfer_group"] == trade.escrow["id"]]
    assert [(p["amount"], p["status"]) for p in paid] == [(450_000, "succeeded")]
    assert not [r for r in objects.get("refund", []) if r["charge"] == paid[0]["latest_charge"]]
    assert trade.document.startswith(b"%PDF-")
    assert hashlib.sha256(trade.document).hexdigest() == trade.document_sha256


async def test_the_whole_trade_shares_one_correlation_id(stack: Stack, trade: Trade) -> None:
    await trade.go(trade.agreement, trade.execution, trade.settlement)

    root = trade.offer["root_offer_id"]
    events = [
        e for s in ("listings", "contracts", "escrow") for e in await outbox_of(stack, s, root)
    ]
    topics = [event["topic"] for event in events]
    assert {topic: topics.count(topic) for topic in set(topics)} == TRADE_FACTS
    assert {event["headers"]["correlation_id"] for event in events} == {root}
    assert {event["key"] for event in events} == {root}

    async def all_are_published() -> None:
        for service in ("listings", "contracts", "escrow"):
            assert all(e["published_at"] for e in await outbox_of(stack, service, root))

    await eventually(all_are_published, within_seconds=10)


async def test_a_trade_ends_on_the_terms_of_its_acceptance(
    stack: Stack, trade: Trade, tmp_path: Path
) -> None:
    await trade.go(trade.agreement)
    stack.stop("listings.api", "listings.worker")
    dearer = {"LISTINGS_FEE_BASIS_POINTS": "900", "LISTINGS_AUTO_RELEASE_SECONDS": "60"}
    with (
        stack.another("listings.api", tmp_path / "api.log", **dearer),
        stack.another("listings.worker", tmp_path / "worker.log", **dearer),
    ):
        for process in ("listings.api", "listings.worker"):
            stack.wait_ready(process)
        await trade.go(trade.execution, trade.settlement)
        later = Trade(trade.seller, trade.buyer, stack.simulators_url)
        await later.go(later.agreement, later.execution)
    stack.start("listings.api", "listings.worker")

    assert (trade.escrow["fee"], trade.escrow["payout"]) == (11_250, 438_750)
    assert (later.escrow["fee"], later.escrow["payout"]) == (40_500, 409_500)
    paid = [e["amount"] for e in trade.ledger if e["account"] == "platform:fees"]
    assert paid == [11_250]
    escrow = await trade.buyer.call("GET", trade.escrow_path)
    waited = datetime.fromisoformat(escrow["release_by"]) - datetime.fromisoformat(
        escrow["delivered_at"]
    )
    assert round(waited / timedelta(days=1), 3) == 7
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(trade.document)).pages)
    assert ("2.50 %" in text, "9.00 %" in text) == (True, False)


async def test_a_stranger_finds_nothing_of_the_trade(trade: Trade, stranger: Trader) -> None:
    await trade.go(trade.agreement, trade.execution)

    sha256 = trade.contract["document_sha256"]
    for method, path, body in (
        ("GET", f"/v1/offers/{trade.offer['id']}", None),
        ("POST", f"/v1/offers/{trade.offer['id']}/accept", {}),
        ("GET", f"/v1/contracts/{trade.contract['id']}", None),
        ("GET", f"/v1/contracts/{trade.contract['id']}/document", None),
        (
            "POST",
            f"/v1/contracts/{trade.contract['id']}/sign",
            {"document_sha256": sha256, "consent": True},
        ),
        ("GET", trade.escrow_path, None),
        ("GET", f"{trade.escrow_path}/ledger", None),
        ("POST", f"{trade.escrow_path}/payment", {}),
        ("POST", f"{trade.escrow_path}/confirm", {}),
    ):
        with pytest.raises(Refused) as refusal:
            await stranger.call(method, path, body)
        assert (refusal.value.status, path) == (404, path)


async def test_moves_the_state_forbids_are_refused_by_name(trade: Trade) -> None:
    await trade.go(trade.agreement, trade.execution)

    for person, path, state in (
        (trade.buyer, f"/v1/offers/{trade.offer['id']}/decline", "ACCEPTED"),
        (trade.seller, f"/v1/contracts/{trade.contract['id']}/decline", "EXECUTED"),
        (trade.buyer, f"{trade.escrow_path}/confirm", "AWAIT_FUNDS"),
    ):
        with pytest.raises(Refused) as refusal:
            await person.call("POST", path)
        assert (refusal.value.status, refusal.value.problem.get("state")) == (409, state)


async def test_money_that_is_no_whole_number_of_cents_is_refused(trade: Trade) -> None:
    await trade.go(trade.agreement[:3])

    path = f"/v1/listings/{trade.listing['id']}/offers"
    for amount in (4500.5, 0, -1, 10**13, "450000", None):
        with pytest.raises(Refused) as refusal:
            await trade.buyer.call("POST", path, {"amount": amount, "currency": "USD"})
        assert refusal.value.status == 422
        assert [error["field"] for error in refusal.value.problem["errors"]] == ["amount"]
    with pytest.raises(Refused) as refusal:
        await trade.buyer.call("POST", path, {"amount": 1, "currency": "USD", "status": "ACCEPTED"})
    assert refusal.value.status == 422
    assert (await trade.buyer.call("GET", f"/v1/offers?listing_id={trade.listing['id']}"))[
        "items"
    ] == []


async def test_without_a_token_or_with_a_wrong_one_nothing_is_answered(
    stack: Stack, trade: Trade
) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url) as anonymous:
        for headers in ({}, {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}):
            for path in ("/v1/me", "/v1/offers", "/v1/contracts", "/v1/escrows"):
                answer = await anonymous.get(path, headers=headers)
                assert (path, answer.status_code) == (path, 401)
                assert answer.headers["content-type"] == "application/problem+json"
