"""Suspense is dealt with once, statements add up, and Stripe agrees with them to the cent."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

if TYPE_CHECKING:
    import httpx
    from services.escrow.tests.conftest import Desk, Trade

PRICE = 450_000
INVARIANTS = Path(__file__).parents[3] / "deploy/postgres/invariants"
STAFF: dict[str, Any] = {"roles": ["moderator"]}
QUEUE = "/v1/escrow/suspense"


async def _suspended(desk: "Desk", trade: "Trade", **lie: Any) -> tuple[UUID, str]:
    """An escrow whose payment was set aside, and the payment's id in the queue."""
    escrow_id = await desk.open(trade)
    await desk.pay(trade, escrow_id)
    paid = await desk.provider.only("payment_intent")
    await desk.provider.say("payment_intent", paid["id"], **lie)
    await desk.work_later()
    [item] = (await desk.get(uuid4(), QUEUE, **STAFF)).json()["items"]
    return escrow_id, item["id"]


async def _deal(desk: "Desk", payment_id: str, how: str, **claims: Any) -> "httpx.Response":
    path = f"{QUEUE}/{payment_id}/{how}"
    return await desk.post(uuid4(), path, {"reason": "Looked at."}, **(claims or STAFF))


async def _changes(desk: "Desk", action: str) -> list[dict[str, Any]]:
    return await desk.database.rows(
        "SELECT user_id, subject_id, details::jsonb->>'to' AS to FROM audit_logs WHERE action = $1",
        action,
    )


def _code(answer: "httpx.Response") -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_money_in_suspense_that_is_as_agreed_becomes_the_payment(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id, payment_id = await _suspended(desk, trade, transfer_group="another")
    shown = (await desk.get(uuid4(), QUEUE, **STAFF)).json()["items"]
    assert [(one["escrow_id"], one["cause"], one["amount"], one["currency"]) for one in shown] == [
        (str(escrow_id), "misfit", PRICE, "USD")
    ]
    answer = await _deal(desk, payment_id, "attribute")
    assert (answer.status_code, answer.json()["status"]) == (200, "FUNDS_HELD")
    assert [p for p in await desk.postings(escrow_id) if p[0] == "attributed"] == [
        ("attributed", "platform:suspense", -PRICE, "USD"),
        ("attributed", "escrow:held", PRICE, "USD"),
    ]
    assert len(await _changes(desk, "escrow.funds_held")) == 1
    assert (await desk.get(uuid4(), QUEUE, **STAFF)).json()["items"] == []

    again = [await _deal(desk, payment_id, how) for how in ("attribute", "return")]
    assert [_code(one) for one in again] == [(409, "suspense-settled")] * 2
    await desk.deliver(trade, escrow_id)
    await desk.make_payable(trade.seller_id)
    await desk.confirm(trade, escrow_id)
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    assert (await desk.provider.only("transfer"))["amount"] == 438_750


async def test_money_that_does_not_fit_goes_back_and_the_buyer_pays_anew(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id, payment_id = await _suspended(desk, trade, amount_received=PRICE - 1)
    assert _code(await _deal(desk, payment_id, "attribute")) == (409, "attribution-does-not-fit")
    answers = await asyncio.gather(*(_deal(desk, payment_id, "return") for _ in range(2)))
    assert sorted(one.status_code for one in answers) == [200, 409]
    await desk.work_later()
    assert (await desk.provider.only("refund"))["amount"] == PRICE - 1
    assert [p for p in await desk.postings(escrow_id) if p[0] == "returned"] == [
        ("returned", "platform:suspense", -(PRICE - 1), "USD"),
        ("returned", "stripe:balance", PRICE - 1, "USD"),
    ]
    assert len(await _changes(desk, "escrow.return_begun")) == 1
    assert (await desk.get(uuid4(), QUEUE, **STAFF)).json()["items"] == []
    assert await desk.status(escrow_id) == "AWAIT_FUNDS"

    preparing = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
    assert preparing.status_code == 202
    await desk.work()
    await desk.pay(trade, escrow_id)
    await desk.work_later()
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    keys = await desk.database.rows(
        "SELECT business_key FROM intents WHERE kind = 'fund' ORDER BY id"
    )
    assert [row["business_key"] for row in keys] == [f"fund:{escrow_id}:1", f"fund:{escrow_id}:2"]


@pytest.mark.parametrize(
    ("lie", "loss"),
    [({"transfer_group": "another"}, 0), ({"amount_received": PRICE - 1}, 1)],
    ids=["all of it", "more than came"],
)
async def test_what_the_bank_takes_of_it_is_in_suspense_no_more(
    desk: "Desk", trade: "Trade", lie: dict[str, Any], loss: int
) -> None:
    escrow_id, payment_id = await _suspended(desk, trade, **lie)
    before = await desk.postings(escrow_id)
    dispute_id = await desk.provider.charge_back()
    [closed] = await desk.provider.events("charge.dispute.closed")
    for number in range(2):
        assert (await desk.webhook({**closed, "id": f"evt_{number}"})).status_code == 200
    await desk.work()
    taken = PRICE - loss
    moved = (await desk.postings(escrow_id))[len(before) :]
    assert [one for one in moved if one[0] != "provider_fee"] == [
        ("charged_back", "platform:suspense", -taken, "USD"),
        ("charged_back", "stripe:balance", taken, "USD"),
        ("chargeback_loss", "platform:chargeback_loss", -1, "USD"),
        ("chargeback_loss", "stripe:balance", 1, "USD"),
    ][: 4 if loss else 2]
    assert (await desk.get(uuid4(), QUEUE, **STAFF)).json()["items"] == []
    for hold in await desk.database.rows("SELECT id FROM holds"):
        path = f"/v1/escrows/{escrow_id}/holds/{hold['id']}/lift"
        assert (await desk.post(uuid4(), path, {"reason": "Over."}, **STAFF)).status_code == 200
    answers = [await _deal(desk, payment_id, how) for how in ("attribute", "return")]
    assert [_code(one) for one in answers] == [(409, "suspense-settled")] * 2
    assert dispute_id not in [one[0] for one in await desk.differences()]
    assert await _broken(desk, "I07") == []


async def test_a_return_that_is_under_way_ends_before_what_the_bank_took_is_posted(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id, payment_id = await _suspended(desk, trade, transfer_group="another")
    await desk.provider.misbehave("/v1/refunds", "fail", status=429)
    assert (await _deal(desk, payment_id, "return")).status_code == 200
    await desk.provider.charge_back()
    [closed] = await desk.provider.events("charge.dispute.closed")
    assert (await desk.webhook(closed)).status_code == 200
    await desk.work()
    assert "charged_back" not in [one[0] for one in await desk.postings(escrow_id)]
    for _ in range(2):
        await desk.work_later()
    states = await desk.database.rows("SELECT state, last_error FROM intents WHERE kind = 'return'")
    assert [tuple(row.values()) for row in states] == [("FAILED", "charge_disputed")]
    assert [one for one in await desk.postings(escrow_id) if one[0] == "charged_back"] == [
        ("charged_back", "platform:suspense", -PRICE, "USD"),
        ("charged_back", "stripe:balance", PRICE, "USD"),
    ]
    assert (await desk.get(uuid4(), QUEUE, **STAFF)).json()["items"] == []


async def test_a_return_that_fails_may_be_tried_again(desk: "Desk", trade: "Trade") -> None:
    _, payment_id = await _suspended(desk, trade, amount_received=PRICE - 1)
    body = {"error": {"type": "invalid_request_error", "code": "no", "message": "no"}}
    await desk.provider.misbehave("/v1/refunds", "fail", status=400, body=body)
    assert (await _deal(desk, payment_id, "return")).status_code == 200
    await desk.work()
    assert len((await desk.get(uuid4(), QUEUE, **STAFF)).json()["items"]) == 1
    assert (await _deal(desk, payment_id, "return")).status_code == 200
    await desk.work()
    await desk.provider.only("refund")
    states = await desk.database.rows("SELECT state FROM intents WHERE kind = 'return' ORDER BY id")
    assert [row["state"] for row in states] == ["FAILED", "SETTLED"]


@pytest.mark.parametrize("how", ["attribute", "return"])
async def test_suspense_is_for_staff_with_a_session_of_their_own(desk: "Desk", how: str) -> None:
    assert (await _deal(desk, str(uuid4()), how, roles=[])).status_code == 403
    limited = await _deal(desk, str(uuid4()), how, scope="trade", **STAFF)
    assert _code(limited) == (403, "own-session-needed")
    assert _code(await _deal(desk, str(uuid4()), how)) == (404, "not-in-suspense")
    for path in (QUEUE, "/v1/escrow/differences", "/v1/escrow/accounts/platform:fees"):
        assert (await desk.get(uuid4(), path)).status_code == 403


async def test_only_what_was_set_aside_is_in_suspense(desk: "Desk", trade: "Trade") -> None:
    await desk.funded(trade)
    payment = await desk.database.one("SELECT id FROM intents WHERE kind = 'fund'")
    answers = [await _deal(desk, str(payment["id"]), how) for how in ("attribute", "return")]
    assert [_code(one) for one in answers] == [(404, "not-in-suspense")] * 2


async def test_a_statement_shows_every_entry_and_what_they_add_up_to(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.confirm(trade, escrow_id)
    await desk.work_later()
    path = "/v1/escrow/accounts/stripe:balance"
    whole = (await desk.get(uuid4(), path, **STAFF)).json()
    amounts = [entry["amount"] for entry in whole["entries"]]
    assert sorted(amounts) == [-PRICE, 13_080, 438_750]
    assert whole["balances"] == {"USD": 438_750 + 13_080 - PRICE}

    paged, cursor, carried = [], "", 0
    while cursor is not None:
        page = (await desk.get(uuid4(), f"{path}?limit=1&cursor={cursor}", **STAFF)).json()
        assert page["carried_forward"].get("USD", 0) == carried
        paged += page["entries"]
        carried += page["entries"][0]["amount"]
        cursor = page["next_cursor"]
    assert paged == whole["entries"]
    fees = (await desk.get(uuid4(), "/v1/escrow/accounts/platform:fees", **STAFF)).json()
    assert fees["balances"] == {"USD": 11_250}
    assert (await desk.get(uuid4(), "/v1/escrow/accounts/cash", **STAFF)).status_code == 422


async def test_after_a_trade_a_refund_and_a_chargeback_stripe_agrees_to_the_cent(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.confirm(trade, escrow_id)
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    charge = await desk.provider.only("charge")
    opened = await desk.provider.http.post("/_sim/disputes", json={"charge": charge["id"]})
    dispute_id = opened.json()["id"]
    # The webhook is lost: until we have heard of it, it differs, and so does Stripe's fee.
    found = await desk.differences()
    assert {(one[0][:3], *one[1:]) for one in found} == {("du_", -PRICE, 0), ("txn", -1500, 0)}

    [event] = await desk.provider.events("charge.dispute.created")
    await desk.webhook(event)
    await desk.work()
    assert await desk.differences() == []
    (await desk.provider.http.post(f"/_sim/disputes/{dispute_id}/lose")).raise_for_status()
    [event] = await desk.provider.events("charge.dispute.closed")
    await desk.webhook(event)
    await desk.work_later()
    assert await desk.differences() == []
    closed = (await desk.get(uuid4(), "/v1/escrow/differences?is_open=false", **STAFF)).json()
    assert len(closed["items"]) == 2
    assert all(one["closed_at"] for one in closed["items"])


async def test_one_cent_is_a_difference_and_the_next_run_comes_in_an_hour(
    desk: "Desk", trade: "Trade"
) -> None:
    await desk.funded(trade)
    await desk.work_later()
    charge = await desk.provider.only("charge")
    paid = await desk.provider.only("payment_intent")
    line = next(
        one
        for one in await desk.provider.objects("balance_transaction")
        if one["source"] == charge["id"]
    )
    await desk.provider.say("balance_transaction", line["id"], amount=PRICE + 1)
    assert await desk.differences() == [(paid["id"], PRICE + 1, PRICE)]
    assert await desk.differences() == [(paid["id"], PRICE + 1, PRICE)]
    rows = await desk.database.rows(
        "SELECT run_at - clock() AS wait FROM jobs"
        " WHERE kind = 'stripe.reconcile' AND status = 'PENDING'"
    )
    assert len(rows) == 1
    assert timedelta(minutes=59) < rows[0]["wait"] <= timedelta(hours=1)


async def _broken(desk: "Desk", name: str) -> list[dict[str, Any]]:
    [query] = [path.read_text() for path in INVARIANTS.glob(f"{name}-*.sql")]
    return await desk.database.rows(query)


async def test_the_invariants_of_webhooks_and_books_hold_and_find_what_breaks_them(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.delivered(trade)
    for kind in ("payment_intent.succeeded", "charge.succeeded"):
        [event] = await desk.provider.events(kind)
        assert (await desk.webhook(event)).status_code == 200
    await desk.make_payable(trade.seller_id)
    await desk.confirm(trade, escrow_id)
    await desk.work_later()
    assert await desk.differences() == []
    for name in ("I05", "I06", "I07", "I10", "I25", "I26"):
        assert await _broken(desk, name) == [], name

    await desk.database.rows(
        "INSERT INTO differences"
        " (id, reference, currency, at_stripe, in_ledger, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'pi_1', 'USD', 1, 0, clock() - interval '3 hours', clock())"
    )
    await desk.database.rows("DELETE FROM jobs WHERE kind = 'stripe.reconcile'")
    await desk.database.rows("DELETE FROM jobs WHERE kind = 'stripe.look'")
    assert [row["reference"] for row in await _broken(desk, "I26")] == [
        "pi_1",
        "nobody compares them",
    ]
    [row] = await _broken(desk, "I25")
    assert (row["what"], row["detail"]) == ("webhook without a look", "payment_intent.succeeded")
