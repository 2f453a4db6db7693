"""Who may see and do what over HTTP, and commands that come twice."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("payment", {}),
    ("deliver", {"title": "Done", "description": "Handed over."}),
    ("confirm", {}),
    ("refund", {"reason": "Sold elsewhere."}),
    ("cancel", {}),
]


async def test_only_webhooks_need_no_token(desk: "Desk") -> None:
    paths = (await desk.http.get("/v1/escrow/openapi.json")).json()["paths"]
    seen = set()
    for path, methods in paths.items():
        for method in methods:
            place = re.sub(r"{\w+_id}", str(uuid4()), path)
            answer = await desk.http.request(method.upper(), place, json={})
            seen.add((method, path, answer.status_code))
    assert {row for row in seen if row[2] != 401} == {("post", "/v1/webhooks/stripe", 400)}
    assert len(seen) == 42


async def test_a_stranger_finds_nothing(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    stranger = uuid4()
    for path in (f"/v1/escrows/{escrow_id}", f"/v1/escrows/{escrow_id}/ledger"):
        assert (await desk.get(stranger, path)).status_code == 404
    for command, body in COMMANDS:
        answer = await desk.post(stranger, f"/v1/escrows/{escrow_id}/{command}", body)
        assert (command, answer.status_code) == (command, 404)
        answer = await desk.post(trade.buyer_id, f"/v1/escrows/{uuid4()}/{command}", body)
        assert (command, answer.status_code) == (command, 404)
    assert (await desk.get(stranger, "/v1/escrows")).json()["items"] == []


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("payment", {"buyer"}),
        ("deliver", {"seller"}),
        ("confirm", {"buyer"}),
        ("refund", {"seller", "staff"}),
        ("cancel", {"buyer"}),
    ],
)
async def test_each_command_is_for_its_side(
    desk: "Desk", trade: "Trade", command: str, allowed: set[str]
) -> None:
    escrow_id = await desk.open(trade)
    body = dict(COMMANDS)[command]
    callers: dict[str, tuple[Any, dict[str, Any]]] = {
        "buyer": (trade.buyer_id, {}),
        "seller": (trade.seller_id, {}),
        "staff": (uuid4(), {"roles": ["moderator"]}),
    }
    refused = set()
    for name, (user_id, claims) in callers.items():
        answer = await desk.post(user_id, f"/v1/escrows/{escrow_id}/{command}", body, **claims)
        if answer.status_code in {403, 404}:
            refused.add(name)
    assert refused == set(callers) - allowed
    assert await desk.status(escrow_id) == "AWAIT_FUNDS"


async def test_a_frontends_limited_token_may_only_read(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    limited: dict[str, Any] = {"act": "discord", "scope": "escrows:read"}
    for command, body in COMMANDS:
        path = f"/v1/escrows/{escrow_id}/{command}"
        answer = await desk.post(trade.buyer_id, path, body, **limited)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (
            403,
            "own-session-needed",
        )
    assert (await desk.post(trade.seller_id, "/v1/payout-account", **limited)).status_code == 403
    assert (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}", **limited)).is_success


@pytest.mark.parametrize(("command", "body"), COMMANDS)
async def test_what_is_unknown_missing_or_unkeyed_is_refused(
    desk: "Desk", trade: "Trade", command: str, body: dict[str, Any]
) -> None:
    escrow_id = await desk.open(trade)
    path = f"/v1/escrows/{escrow_id}/{command}"
    for extra in ({"status": "RELEASED"}, {"amount": 1}, {"seller_id": str(uuid4())}):
        assert (await desk.post(trade.buyer_id, path, body | extra)).status_code == 422
    headers = desk.issuer.authorization(trade.buyer_id)
    unkeyed = await desk.http.post(path, json=body, headers=headers)
    assert unkeyed.json()["type"].endswith("/idempotency-key-required")
    for name in body:
        for value in ("", "  ", "x" * 5000, 7, None):
            answer = await desk.post(trade.seller_id, path, body | {name: value})
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)


async def test_a_command_sent_twice_is_done_once(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    path = f"/v1/escrows/{escrow_id}/deliver"
    body = dict(COMMANDS)["deliver"]
    first = await desk.post(trade.seller_id, path, body, key="one")
    again = await desk.post(trade.seller_id, path, body, key="one")
    assert (first.status_code, first.text) == (again.status_code, again.text)
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await desk.post(trade.seller_id, path, body | {"title": "Other"}, key="one")
    assert other.json()["type"].endswith("/idempotency-key-reused")
    new = await desk.post(trade.seller_id, path, body, key="two")
    assert (new.status_code, new.json()["state"]) == (409, "DELIVERED")
    assert (await desk.topics(escrow_id)).count("escrow.delivered") == 1
    assert len(await desk.database.rows("SELECT FROM deliveries")) == 1


async def test_illegal_moves_name_the_state_and_change_nothing(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    before = await desk.database.rows("SELECT * FROM escrows")
    for user_id, command in (
        (trade.seller_id, "deliver"),
        (trade.buyer_id, "confirm"),
        (trade.seller_id, "refund"),
    ):
        path = f"/v1/escrows/{escrow_id}/{command}"
        answer = await desk.post(user_id, path, dict(COMMANDS)[command])
        assert (answer.status_code, answer.json()["state"]) == (409, "AWAIT_FUNDS")
        assert answer.json()["type"].endswith("/illegal-move")
    assert await desk.database.rows("SELECT * FROM escrows") == before


async def test_a_party_pages_through_its_own_escrows(desk: "Desk", trade: "Trade") -> None:
    made = [await desk.open(replace(trade, contract_id=uuid4())) for _ in range(3)]
    for user_id in (trade.buyer_id, trade.seller_id):
        first = (await desk.get(user_id, "/v1/escrows?limit=2")).json()
        last = (
            await desk.get(user_id, f"/v1/escrows?limit=2&cursor={first['next_cursor']}")
        ).json()
        shown = [item["id"] for item in (*first["items"], *last["items"])]
        assert shown == [str(escrow_id) for escrow_id in reversed(made)]
        assert last["next_cursor"] is None
    filtered = await desk.get(trade.buyer_id, f"/v1/escrows?contract_id={trade.contract_id}")
    assert filtered.json()["items"] == []
    none = await desk.get(trade.buyer_id, "/v1/escrows?status=RELEASED")
    assert none.json()["items"] == []
    assert (await desk.get(trade.buyer_id, "/v1/escrows?cursor=junk")).status_code == 422


async def test_the_openapi_tells_every_refusal_of_a_command(desk: "Desk") -> None:
    document = (await desk.http.get("/v1/escrow/openapi.json")).json()
    answers = document["paths"]["/v1/escrows/{escrow_id}/payment"]["post"]["responses"]
    assert set(answers) == {
        *("200", "202", "400", "401", "403", "404", "409", "413", "415", "422", "500", "501", "503")
    }
