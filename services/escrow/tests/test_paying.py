"""From an open escrow to money that is held, set aside or sent back."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from escrow.errors import TermsContradict
from escrow.rails import Payment
from escrow.use_cases import opening, paying
from shared.money import Rail

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

PAST_DUE = timedelta(hours=72, seconds=1)


@pytest.mark.parametrize(
    ("amount", "rail", "currency"),
    [(1_000_000, "STRIPE", "USD"), (1_000_001, "USDC_BASE", "USDC")],
)
async def test_ten_thousand_dollars_are_the_last_by_card(
    desk: "Desk", trade: "Trade", amount: int, rail: str, currency: str
) -> None:
    trade = replace(trade, amount=amount)
    escrow_id = await desk.open(trade)
    row = await desk.database.one("SELECT rail, currency, status, amount FROM escrows")
    assert (row["rail"], row["currency"], row["status"]) == (rail, currency, "AWAIT_FUNDS")
    [created] = await desk.told(escrow_id)
    assert (created["topic"], created["rail"], created["amount"]) == (
        "escrow.created",
        rail,
        amount,
    )
    answer = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
    if rail == "STRIPE":
        assert (answer.status_code, answer.json()["amount"]) == (200, 1_000_000)
    else:
        assert answer.status_code == 501
        assert answer.json()["type"] == "https://bloxtr8.dev/problems/rail-not-open"
        assert await desk.provider.objects("payment_intent") == []


async def test_a_contract_opens_one_escrow_by_its_own_terms(desk: "Desk", trade: "Trade") -> None:
    await desk.open(trade, fee=9_999, pay_within_seconds=60)
    await desk.open(trade)
    row = await desk.database.one(
        "SELECT fee, pay_by - created_at AS pay_within, deal->'terms'->>'fee' AS agreed"
        " FROM escrows"
    )
    assert (row["fee"], row["pay_within"], row["agreed"]) == (9_999, timedelta(seconds=60), "9999")
    assert len(await desk.provider.objects("payment_intent")) == 1


async def test_terms_that_contradict_the_amount_open_nothing(desk: "Desk", trade: "Trade") -> None:
    with pytest.raises(TermsContradict):
        async with desk.database.sessions.begin() as session:
            await opening.open_escrow(session, trade.executed(rail=Rail.USDC_BASE))
    assert await desk.database.rows("SELECT FROM escrows") == []


async def test_payment_is_prepared_first_and_its_secret_never_kept(
    desk: "Desk", trade: "Trade"
) -> None:
    await desk.provider.misbehave("/v1/payment_intents", "fail", status=429)
    escrow_id = await desk.open(trade)
    path = f"/v1/escrows/{escrow_id}/payment"
    early = await desk.post(trade.buyer_id, path, key="one")
    assert (early.status_code, early.json()) == (202, {"status": "preparing"})
    assert early.headers["Retry-After"] == "1"
    await desk.work_later()

    ready = await desk.post(trade.buyer_id, path, key="two")
    paid = await desk.provider.only("payment_intent")
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "client_secret": paid["client_secret"],
        "payment_intent_id": paid["id"],
        "amount": 450_000,
        "currency": "USD",
    }
    assert paid["transfer_group"] == str(escrow_id)
    asked = await desk.database.one(
        "SELECT params #>> '{payment_method_options,card,request_three_d_secure}' AS three_d_secure"
        " FROM intents"
    )
    assert asked["three_d_secure"] == "any"
    early_again = await desk.post(trade.buyer_id, path, key="one")
    assert (early_again.status_code, early_again.json()) == (202, {"status": "preparing"})
    assert early_again.headers["Idempotency-Replayed"] == "true"
    again = await desk.post(trade.buyer_id, path, key="two")
    assert again.json()["type"].endswith("/idempotency-answer-not-kept")
    for table in await desk.database.rows(
        "SELECT c.relname AS name FROM pg_class c WHERE c.relkind = 'r'"
        " AND c.relnamespace = current_schema()::regnamespace"
    ):
        found = await desk.database.rows(
            f"SELECT FROM {table['name']} AS t"
            f" WHERE t::text LIKE '%{paid['client_secret']}%'"
            f" OR t::text LIKE '%{paid['client_secret'].encode().hex()}%'"
        )
        assert (table["name"], found) == (table["name"], [])


async def test_payment_waits_for_a_check_of_the_owner_after_the_opening(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade, is_owner_confirmed=False)
    path = f"/v1/escrows/{escrow_id}/payment"
    opened_at = (await desk.database.one("SELECT created_at FROM escrows"))["created_at"]
    for check, code in (
        (None, "ownership-unconfirmed"),
        (trade.verified(opened_at - timedelta(seconds=1), 1), "ownership-unconfirmed"),
        (trade.not_verified(opened_at + timedelta(seconds=1), 2), "ownership-lost"),
    ):
        if check is not None:
            async with desk.database.sessions.begin() as session:
                await opening.note_ownership(session, check)
        answer = await desk.post(trade.buyer_id, path)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, code)
    async with desk.database.sessions.begin() as session:
        await opening.note_ownership(session, trade.verified(opened_at + timedelta(seconds=2), 3))
    assert (await desk.post(trade.buyer_id, path)).status_code == 200


async def test_the_buyer_leaves_freely_when_the_seller_has_lost_the_game(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    path = f"/v1/escrows/{escrow_id}/cancel"
    refused = await desk.post(trade.buyer_id, path)
    assert refused.json()["type"].endswith("/cancel-not-open")
    opened_at = (await desk.database.one("SELECT created_at FROM escrows"))["created_at"]
    async with desk.database.sessions.begin() as session:
        await opening.note_ownership(session, trade.not_verified(opened_at + timedelta(seconds=9)))

    answer = await desk.post(trade.buyer_id, path)
    assert (answer.status_code, answer.json()["settling"]) == (200, "CANCEL")
    await desk.work()

    assert await desk.status(escrow_id) == "CANCELLED"
    assert (await desk.provider.only("payment_intent"))["status"] == "canceled"
    cancelled = (await desk.told(escrow_id))[-1]
    assert (cancelled["topic"], cancelled["reason"]) == ("escrow.cancelled", "OWNERSHIP_LOST")


@pytest.mark.parametrize(
    ("lie", "posted"),
    [
        ({"amount_received": 449_999}, (449_999, "USD")),
        ({"amount_received": 450_001}, (450_001, "USD")),
        ({"amount": 450_001, "amount_received": 450_001}, (450_001, "USD")),
        ({"currency": "eur"}, (450_000, "EUR")),
        ({"currency": "jpy"}, (450_000, "JPY")),
        ({"amount": 4_500, "amount_received": 4_500}, (4_500, "USD")),
        ({"amount_received": 4_500_000_000, "currency": "usdc"}, (4_500_000_000, "USDC")),
        ({"transfer_group": "another"}, (450_000, "USD")),
    ],
    ids=["less", "more", "asked more", "currency", "yen", "dollars", "six decimals", "group"],
)
async def test_money_that_is_not_as_agreed_waits_in_suspense(
    desk: "Desk", trade: "Trade", lie: dict[str, Any], posted: tuple[int, str]
) -> None:
    escrow_id = await desk.open(trade)
    await desk.pay(trade, escrow_id)
    paid = await desk.provider.only("payment_intent")
    await desk.provider.say("payment_intent", paid["id"], **lie)
    await desk.work_later()

    amount, currency = posted
    assert await desk.status(escrow_id) == "AWAIT_FUNDS"
    assert [p for p in await desk.postings(escrow_id) if p[0] != "provider_fee"] == [
        ("misfit", "stripe:balance", -amount, currency),
        ("misfit", "platform:suspense", amount, currency),
    ]
    assert await desk.topics(escrow_id) == ["escrow.created"]
    answer = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
    assert answer.json()["type"].endswith("/payment-in-review")
    await desk.database.clock.advance(PAST_DUE)
    await desk.ticker.tick()
    await desk.work_later()
    assert await desk.status(escrow_id) == "CANCELLED"


async def test_an_unpaid_escrow_ends_after_stripe_can_take_no_payment(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    await desk.database.clock.advance(PAST_DUE)
    overdue = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
    assert overdue.json()["type"].endswith("/payment-overdue")
    await desk.ticker.tick()
    assert await desk.status(escrow_id) == "AWAIT_FUNDS"
    refused = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
    assert refused.json()["type"].endswith("/settling")

    await desk.work()

    assert await desk.status(escrow_id) == "CANCELLED"
    assert (await desk.provider.only("payment_intent"))["status"] == "canceled"
    cancelled = (await desk.told(escrow_id))[-1]
    assert (cancelled["topic"], cancelled["reason"]) == ("escrow.cancelled", "UNPAID")
    assert await desk.postings(escrow_id) == []


async def test_an_unpaid_escrow_in_usdc_ends_at_once(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(replace(trade, amount=1_000_001))
    await desk.database.clock.advance(PAST_DUE)
    await desk.ticker.tick()
    assert await desk.status(escrow_id) == "CANCELLED"


async def test_money_paid_just_before_the_end_is_held(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    await desk.pay(trade, escrow_id)
    await desk.database.clock.advance(PAST_DUE)
    await desk.ticker.tick()
    await desk.work()
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert await desk.topics(escrow_id) == ["escrow.created", "escrow.funded"]


async def test_money_that_comes_after_the_end_goes_back(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    await desk.database.clock.advance(PAST_DUE)
    await desk.ticker.tick()
    await desk.work()
    paid = await desk.provider.only("payment_intent")
    await desk.provider.say("payment_intent", paid["id"], status="requires_payment_method")
    await desk.provider.pay(paid["client_secret"])
    [event] = await desk.provider.events("payment_intent.succeeded")
    await desk.webhook(event)
    await desk.work()

    assert await desk.status(escrow_id) == "CANCELLED"
    refund = await desk.provider.only("refund")
    assert (refund["amount"], refund["payment_intent"]) == (450_000, paid["id"])
    assert [p for p in await desk.postings(escrow_id) if p[0] != "provider_fee"] == [
        ("late", "stripe:balance", -450_000, "USD"),
        ("late", "platform:suspense", 450_000, "USD"),
        ("returned", "platform:suspense", -450_000, "USD"),
        ("returned", "stripe:balance", 450_000, "USD"),
    ]
    assert await desk.topics(escrow_id) == ["escrow.created", "escrow.cancelled"]


async def test_a_payment_never_goes_back_to_an_earlier_state(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    [row] = await desk.database.rows("SELECT id, object_id FROM intents")
    for status in ("processing", "requires_payment_method", "canceled", "succeeded"):
        seen = Payment(
            id=row["object_id"], amount=450_000, received=450_000, currency="usd", status=status
        )
        async with desk.database.sessions.begin() as session:
            await paying.observe_payment(session, seen, row["id"])
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert await desk.topics(escrow_id) == ["escrow.created", "escrow.funded"]
    assert (await desk.database.one("SELECT provider_status FROM intents"))[
        "provider_status"
    ] == "succeeded"
