"""Keys, versions, idempotency, faults, webhooks and restarts."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

ORDER: Any = {"amount": 5000, "currency": "usd"}
INTENTS = "/v1/payment_intents"


async def _create(client: Any, key: str, **changes: Any) -> Any:
    return await client.v1.payment_intents.create_async(ORDER | changes, {"idempotency_key": key})


async def _ids(client: Any) -> list[str]:
    return [intent.id for intent in (await client.v1.payment_intents.list_async()).data]


def _headers(error: stripe.StripeError) -> Any:
    return error.headers


async def _rule(shop: Any, action: str, when: str = "before", **more: Any) -> None:
    rule = {"method": "POST", "path": INTENTS, "action": action, "when": when, **more}
    await shop.sim("POST", "/rules", rule)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer sk_test_other"}, 401),
        ({"Authorization": "Bearer sk_test_bloxtr8"}, 400),
        ({"Authorization": "Bearer sk_test_bloxtr8", "Stripe-Version": "2020-01-01"}, 400),
    ],
)
async def test_a_wrong_key_or_version_is_refused(
    control: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await control.get("/stripe/v1/events", headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["Request-Id"].startswith("req_")


async def test_what_is_not_simulated_is_refused(client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="does not do transfer_data"):
        await client.v1.payment_intents.create_async(
            ORDER | {"transfer_data": {"destination": "acct_1"}}
        )
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
        await client.v1.customers.create_async({})
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await client.v1.transfers.retrieve_async("tr_unknown")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")


async def test_one_key_is_one_effect(client: Any, shop: Any) -> None:
    first = await _create(client, "fund:1")
    second = await _create(client, "fund:1")
    assert second.id == first.id
    assert second.last_response.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.last_response.headers
    with pytest.raises(stripe.IdempotencyError) as reused:
        await _create(client, "fund:1", amount=6000)
    assert reused.value.http_status == 400
    await shop.sim("POST", "/clock", {"seconds": 24 * 3600 - 60})
    assert (await _create(client, "fund:1")).id == first.id
    await shop.sim("POST", "/clock", {"seconds": 120})
    third = await _create(client, "fund:1")
    assert await _ids(client) == [third.id, first.id]


async def test_a_request_that_was_never_executed_leaves_its_key_free(client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await _create(client, "fund:1", amount="much")
    assert (await _create(client, "fund:1")).amount == 5000


async def test_a_refusal_is_replayed(client: Any, shop: Any) -> None:
    intent = await shop.intent()
    for replayed in (None, "true"):
        with pytest.raises(stripe.CardError) as refusal:
            await client.v1.payment_intents.confirm_async(
                intent.id, {"payment_method": "pm_card_chargeDeclined"}, {"idempotency_key": "c"}
            )
        assert _headers(refusal.value).get("idempotent-replayed") == replayed
    assert len((await client.v1.charges.list_async()).data) == 1


async def test_two_requests_at_once_under_one_key_conflict(client: Any, shop: Any) -> None:
    await _rule(shop, "delay", "after", seconds=0.4)
    first = asyncio.create_task(_create(client, "fund:1"))
    while not await _ids(client):
        await asyncio.sleep(0.01)
    with pytest.raises(stripe.StripeError) as conflict:
        await _create(client, "fund:1")
    assert conflict.value.http_status == 409
    body: Any = conflict.value.json_body
    assert body["error"]["code"] == "idempotency_key_in_use"
    made = await first
    assert (await _create(client, "fund:1")).id == made.id
    assert await _ids(client) == [made.id]


@pytest.mark.parametrize("action", ["timeout", "drop"])
async def test_an_answer_lost_after_the_effect_is_found_under_the_same_key(
    client: Any, shop: Any, action: str
) -> None:
    await _rule(shop, action, "after", seconds=0.05)
    with pytest.raises(stripe.APIConnectionError):
        await _create(client, "fund:2")
    [made] = await _ids(client)
    again = await _create(client, "fund:2")
    assert again.id == made
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert await _ids(client) == [made]


@pytest.mark.parametrize("action", ["timeout", "drop", "fail"])
async def test_what_fails_before_the_effect_has_none(client: Any, shop: Any, action: str) -> None:
    await _rule(shop, action, seconds=0.05, status=503)
    with pytest.raises(stripe.StripeError):
        await _create(client, "fund:3")
    assert await _ids(client) == []
    posts = [seen for seen in await shop.sim("GET", "/requests") if seen["method"] == "POST"]
    assert posts == []
    made = await _create(client, "fund:3")
    assert await _ids(client) == [made.id]


async def test_an_error_after_the_effect_is_replayed_for_ever(client: Any, shop: Any) -> None:
    await _rule(shop, "fail", "after", status=500)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failure:
            await _create(client, "fund:4")
        assert failure.value.http_status == 500
    assert _headers(failure.value)["idempotent-replayed"] == "true"
    assert len(await _ids(client)) == 1


async def test_v2_repeats_what_has_failed(client: Any, shop: Any) -> None:
    await shop.sim(
        "POST", "/rules", {"path": "/v2/core/accounts", "action": "fail", "when": "after"}
    )
    options: Any = {"idempotency_key": "account:1"}
    with pytest.raises(stripe.APIError):
        await client.v2.core.accounts.create_async({}, options)
    again = await client.v2.core.accounts.create_async({}, options)
    assert (await client.v2.core.accounts.create_async({}, options)).id == again.id


async def test_rules_count_and_can_be_cleared(client: Any, shop: Any) -> None:
    await _rule(shop, "fail", status=429, times=2)
    with pytest.raises(stripe.RateLimitError):
        await _create(client, "a")
    assert [rule["times"] for rule in await shop.sim("GET", "/rules")] == [1]
    await shop.sim("DELETE", "/rules")
    await _create(client, "a")
    seen = (await shop.sim("GET", "/requests"))[-1]
    assert seen == {"method": "POST", "path": INTENTS, "idempotency_key": "a", "status": 200}


async def test_webhooks_come_signed_and_again_until_taken(
    client: Any, shop: Any, receiver: Any
) -> None:
    receiver.status = 500
    intent = await shop.paid()
    await receiver.until(lambda events: len(events) >= 4)
    receiver.status = 200

    async def are_done() -> bool:
        return all(row["done"] for row in await shop.sim("GET", "/deliveries"))

    async with asyncio.timeout(10):
        while not await are_done():
            await asyncio.sleep(0.02)
    told = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    assert {event.type for event in receiver.events} == set(told)
    assert len(receiver.events) > len({event.id for event in receiver.events})
    paid = next(event for event in receiver.events if event.type == told[2])
    assert paid.data.object.id == intent.id
    assert paid.api_version == stripe._api_version._ApiVersion.CURRENT
    listed = await client.v1.events.list_async({"type": told[2]})
    assert [event.id for event in listed.data] == [paid.id]


async def test_webhooks_can_be_held_doubled_dropped_and_sent_again(
    shop: Any, receiver: Any
) -> None:
    await shop.sim("PUT", "/webhooks", {"hold": True})
    await shop.intent()
    await shop.intent()
    assert receiver.events == []
    await shop.sim("PUT", "/webhooks", {"duplicate": 3, "reorder": True})
    await receiver.until(lambda events: len(events) == 6)
    assert len({event.id for event in receiver.events}) == 2
    await shop.sim("PUT", "/webhooks", {"drop": True})
    dropped = await shop.intent()
    async with asyncio.timeout(10):
        while not all(row["done"] for row in await shop.sim("GET", "/deliveries")):
            await asyncio.sleep(0.02)
    await shop.sim("PUT", "/webhooks", {})
    [event] = [
        event
        for event in (await shop.sim("GET", "/objects"))["event"]
        if event["data"]["object"]["id"] == dropped.id
    ]
    await shop.sim("POST", "/resend", {"event_id": event["id"]})
    await receiver.until(lambda events: len(events) == 7)
    assert receiver.events[-1].id == event["id"]


async def test_a_restart_keeps_everything(
    start: Any, connect: Any, receiver: Any, tmp_path: Path
) -> None:
    file = tmp_path / "state.json"
    receiver.status = 500
    first = await start(file)
    client = connect(first.url)
    intent = await _create(client, "fund:1")
    certificates = (await httpx.AsyncClient().get(f"{first.url}/roblox/oauth/v1/certs")).json()
    await receiver.until(bool)
    await first.stop()
    torn = json.dumps([["stripe", "payment_intent", "pi_torn", {"id": "pi_torn"}]])[:40]

    def tear() -> int:
        with file.open("a") as journal:
            journal.write(torn)
        return file.stat().st_mode & 0o777

    assert await asyncio.to_thread(tear) == 0o600
    receiver.status = 200
    receiver.events.clear()

    second = await start(file)
    client = connect(second.url)
    assert await _ids(client) == [intent.id]
    assert (await _create(client, "fund:1")).id == intent.id
    await receiver.until(bool)
    assert [event.type for event in receiver.events] == ["payment_intent.created"]
    async with httpx.AsyncClient(base_url=second.url) as http:
        assert (await http.get("/roblox/oauth/v1/certs")).json() == certificates
    await second.stop()
