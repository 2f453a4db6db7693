"""A webhook is kept once when Stripe has signed it just now, else not at all."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

SECRET, OLD_SECRET = "whsec_new", "whsec_old"
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "created": 1_763_000_000,
    "livemode": False,
    "data": {"object": {"id": "pi_1", "object": "payment_intent"}},
}


def signed(body: str, secret: str = SECRET, at: int | None = None) -> str:
    return str(stripe.WebhookSignature.generate_signature_header(body, secret, at))


async def kept(desk: "Desk") -> int:
    return int((await desk.database.one("SELECT count(*) AS n FROM webhook_events"))["n"])


async def test_the_same_webhook_a_hundred_times_funds_once(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    await desk.pay(trade, escrow_id)
    [event] = await desk.provider.events("payment_intent.succeeded")

    for _ in range(10):
        answers = await asyncio.gather(*(desk.webhook(event) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
    await desk.work()
    await desk.work_later()

    assert await kept(desk) == 1
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert [p for p in await desk.postings(escrow_id) if p[0] == "funded"] == [
        ("funded", "stripe:balance", -450_000, "USD"),
        ("funded", "escrow:held", 450_000, "USD"),
    ]
    assert await desk.topics(escrow_id) == ["escrow.created", "escrow.funded"]


async def test_all_webhooks_backwards_and_twice_lead_to_the_same(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    await desk.pay(trade, escrow_id)
    events = [
        event
        for kind in ("payment_intent.succeeded", "charge.succeeded", "payment_intent.created")
        for event in await desk.provider.events(kind)
    ]
    assert len(events) == 3
    for event in events * 2:
        assert (await desk.webhook(event)).status_code == 200
    await desk.work()
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert await desk.topics(escrow_id) == ["escrow.created", "escrow.funded"]


async def test_a_webhook_before_the_answer_of_the_call_funds_once(
    desk: "Desk", trade: "Trade"
) -> None:
    await desk.provider.misbehave(
        "/v1/payment_intents", "timeout", when="after", seconds=1.5, times=1
    )
    escrow_id = await desk.open(trade)
    paid = await desk.provider.only("payment_intent")
    await desk.provider.pay(paid["client_secret"])
    [event] = await desk.provider.events("payment_intent.succeeded")
    await desk.webhook(event)
    await desk.database.rows("UPDATE jobs SET run_at = clock() + '1h' WHERE kind = 'stripe.call'")

    await desk.work()
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    await desk.work_later()

    assert len(await desk.provider.posts("/v1/payment_intents")) == 1
    assert await desk.topics(escrow_id) == ["escrow.created", "escrow.funded"]
    row = await desk.database.one("SELECT state, object_id FROM intents")
    assert (row["state"], row["object_id"]) == ("SETTLED", paid["id"])


async def test_every_active_secret_signs(desk: "Desk") -> None:
    for number, secret in enumerate((SECRET, OLD_SECRET)):
        answer = await desk.webhook(EVENT | {"id": f"evt_{number}"}, secret=secret)
        assert answer.status_code == 200
    body = json.dumps(EVENT | {"id": "evt_2"})
    both = f"{signed(body, 'whsec_other')},v1={signed(body).partition('v1=')[2]}"
    answer = await desk.webhook(EVENT | {"id": "evt_2"}, signature=both)
    assert (answer.status_code, await kept(desk)) == (200, 3)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "nonsense",
        "t=1,v1=",
        signed(json.dumps(EVENT), "whsec_foreign"),
        signed(json.dumps(EVENT), at=int(time.time()) - 301),
        signed(json.dumps(EVENT), at=int(time.time()) + 3600),
        signed(json.dumps(EVENT)).replace("v1=", "v0="),
        signed(json.dumps(EVENT, indent=1)),
    ],
    ids=["none", "junk", "empty", "secret", "old", "future", "scheme", "bytes"],
)
async def test_a_bad_signature_leaves_no_row(desk: "Desk", signature: str) -> None:
    answer = await desk.webhook(EVENT, signature=signature)

    assert answer.status_code == 400
    assert answer.json()["type"] == "https://bloxtr8.dev/problems/webhook-refused"
    assert await kept(desk) == 0
    assert await desk.database.rows("SELECT FROM jobs") == []


@pytest.mark.parametrize(
    "event",
    [
        EVENT | {"livemode": True},
        EVENT | {"account": "acct_other"},
        EVENT | {"object": "v2.core.event"},
        {"object": "event"},
    ],
    ids=["livemode", "account", "thin", "empty"],
)
async def test_a_signed_event_that_is_not_for_us_leaves_no_row(
    desk: "Desk", event: dict[str, Any]
) -> None:
    assert (await desk.webhook(event)).status_code == 400
    assert await kept(desk) == 0


async def test_news_of_other_things_is_kept_and_asks_for_nothing(desk: "Desk") -> None:
    for number, (kind, thing) in enumerate(
        (("balance.available", {"object": "balance"}), ("payout.paid", {"id": "po_1"}))
    ):
        event = EVENT | {"id": f"evt_{number}", "type": kind, "data": {"object": thing}}
        assert (await desk.webhook(event)).status_code == 200
    assert await kept(desk) == 2
    assert await desk.database.rows("SELECT FROM jobs") == []


async def test_a_webhook_past_256_kib_is_not_read(desk: "Desk") -> None:
    answer = await desk.webhook(EVENT | {"padding": "x" * 256 * 1024})
    assert (answer.status_code, await kept(desk)) == (413, 0)


async def test_an_object_that_is_not_ours_is_held_a_while_and_then_left(desk: "Desk") -> None:
    stray = await desk.rail._v1.payment_intents.create_async(
        {"amount": 1000, "currency": "usd", "metadata": {"intent_id": "no id"}}
    )
    event = EVENT | {"data": {"object": {"id": stray.id}}}
    assert (await desk.webhook(event)).status_code == 200
    await desk.work()
    assert (await desk.database.one("SELECT status FROM jobs"))["status"] == "PENDING"
    await desk.database.rows("UPDATE jobs SET created_at = clock() - interval '16 minutes'")
    await desk.work_later()
    assert (await desk.database.one("SELECT status FROM jobs"))["status"] == "COMPLETED"
    assert await desk.database.rows("SELECT FROM ledger_entries") == []
