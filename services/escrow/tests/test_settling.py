"""From the handover to money that has reached one side, once."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from escrow.use_cases import opening
from shared.events.cards import KycTier
from shared.events.identity import UserUpdated

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

FUNDED = [
    ("funded", "stripe:balance", -450_000, "USD"),
    ("funded", "escrow:held", 450_000, "USD"),
    ("provider_fee", "platform:provider_fees", -13_080, "USD"),
    ("provider_fee", "stripe:balance", 13_080, "USD"),
]


async def test_a_trade_is_paid_out_to_the_cent(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)

    answer = await desk.confirm(trade, escrow_id)

    assert (answer.status_code, answer.json()["settling"]) == (200, "RELEASE")
    assert await desk.status(escrow_id) == "DELIVERED"
    await desk.work()
    assert await desk.status(escrow_id) == "RELEASED"
    transfer = await desk.provider.only("transfer")
    charge = await desk.provider.only("charge")
    assert (transfer["amount"], transfer["currency"]) == (438_750, "usd")
    assert transfer["transfer_group"] == str(escrow_id)
    assert transfer["source_transaction"] == charge["id"]
    assert await desk.postings(escrow_id) == [
        *FUNDED,
        ("released", "escrow:held", -450_000, "USD"),
        ("released", "stripe:balance", 438_750, "USD"),
        ("released", "platform:fees", 11_250, "USD"),
    ]
    told = await desk.told(escrow_id)
    assert [fact["topic"] for fact in told] == [
        "escrow.created",
        "escrow.funded",
        "escrow.delivered",
        "escrow.released",
    ]
    assert [fact["version"] for fact in told] == sorted({fact["version"] for fact in told})
    released = told[-1]
    assert (released["paid_to_seller"], released["fee"]) == (438_750, 11_250)
    assert (released["refunded_to_buyer"], released["references"]) == (0, [transfer["id"]])
    paid = await desk.database.one("SELECT * FROM stripe_escrows")
    assert (paid["charge_id"], paid["transfer_id"], paid["refund_id"]) == (
        charge["id"],
        transfer["id"],
        None,
    )
    view = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}")).json()
    assert (view["settling"], view["payout"], view["fee"]) == (None, 438_750, 11_250)
    assert [delivery["status"] for delivery in view["deliveries"]] == ["CONFIRMED"]


async def test_each_move_writes_one_audit_row_with_where_it_led(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.confirm(trade, escrow_id)
    await desk.work()
    rows = await desk.database.rows(
        "SELECT action, user_id, details->>'from' AS before, details->>'to' AS after"
        " FROM audit_logs WHERE subject_id = $1 ORDER BY id",
        str(escrow_id),
    )
    assert [tuple(row.values()) for row in rows] == [
        ("escrow.opened", None, None, "AWAIT_FUNDS"),
        ("escrow.funds_held", None, "AWAIT_FUNDS", "FUNDS_HELD"),
        ("escrow.delivered", trade.seller_id, "FUNDS_HELD", "DELIVERED"),
        ("escrow.confirmed", trade.buyer_id, None, "DELIVERED"),
        ("escrow.released", None, "DELIVERED", "RELEASED"),
    ]


async def test_two_confirmations_at_once_are_one_transfer(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)

    answers = await asyncio.gather(*(desk.confirm(trade, escrow_id) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    refusals = {a.json()["type"] for a in answers if a.status_code == 409}
    assert refusals == {"https://bloxtr8.dev/problems/settling"}
    await desk.work()
    assert (await desk.provider.only("transfer"))["amount"] == 438_750
    late = await desk.confirm(trade, escrow_id)
    assert (late.status_code, late.json()["state"]) == (409, "RELEASED")


async def test_delivery_and_refund_at_once_leave_one_of_them(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    for _ in range(5):
        delivered, refunded = await asyncio.gather(
            desk.deliver(trade, escrow_id), desk.refund(trade.seller_id, escrow_id)
        )
        assert sorted([delivered.status_code, refunded.status_code]) == [200, 409]
        await desk.database.rows(
            "UPDATE escrows SET status = 'FUNDS_HELD', settling = NULL, delivered_at = NULL"
        )
        await desk.database.rows("DELETE FROM jobs WHERE kind = 'stripe.call'")
        await desk.database.rows("DELETE FROM intents WHERE kind = 'refund'")


async def test_refund_and_confirmation_at_once_pay_one_side(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    confirmed, refunded, by_staff = await asyncio.gather(
        desk.confirm(trade, escrow_id),
        desk.refund(trade.seller_id, escrow_id),
        desk.refund(uuid4(), escrow_id, roles=["moderator"]),
    )
    assert [confirmed.status_code, refunded.status_code, by_staff.status_code] == [200, 409, 409]
    await desk.work()
    assert await desk.status(escrow_id) == "RELEASED"
    assert await desk.provider.objects("refund") == []
    late = await desk.refund(trade.seller_id, escrow_id)
    assert (late.status_code, late.json()["state"]) == (409, "RELEASED")


@pytest.mark.parametrize("by_staff", [False, True])
async def test_held_money_goes_back_whole(desk: "Desk", trade: "Trade", by_staff: bool) -> None:
    escrow_id = await desk.funded(trade)
    if by_staff:
        answer = await desk.refund(uuid4(), escrow_id, roles=["admin"])
    else:
        answer = await desk.refund(trade.seller_id, escrow_id)
    assert (answer.status_code, answer.json()["settling"]) == (200, "REFUND")
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    for refused in (await desk.deliver(trade, escrow_id), await desk.confirm(trade, escrow_id)):
        assert (refused.status_code, refused.json()["state"]) == (409, "FUNDS_HELD")
    await desk.work()

    assert await desk.status(escrow_id) == "REFUNDED"
    refund = await desk.provider.only("refund")
    assert refund["amount"] == 450_000
    assert (await desk.postings(escrow_id))[-2:] == [
        ("refunded", "escrow:held", -450_000, "USD"),
        ("refunded", "stripe:balance", 450_000, "USD"),
    ]
    told = (await desk.told(escrow_id))[-1]
    assert (told["topic"], told["reason"]) == ("escrow.refunded", "Sold elsewhere.")
    assert (told["refunded_to_buyer"], told["paid_to_seller"], told["fee"]) == (450_000, 0, 0)
    assert told["references"] == [refund["id"]]


async def test_a_refund_counts_when_stripe_says_succeeded(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    await desk.refund(trade.seller_id, escrow_id)
    await desk.runner.run_one()
    refund = await desk.provider.only("refund")
    await desk.provider.say("refund", refund["id"], status="pending")
    await desk.work()
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    await desk.provider.say("refund", refund["id"], status="succeeded")
    [event] = await desk.provider.events("refund.created")
    await desk.webhook(event)
    await desk.work()
    assert await desk.status(escrow_id) == "REFUNDED"


@pytest.mark.parametrize(
    "lie",
    [{"amount": 450_001}, {"amount": 1}, {"currency": "eur"}, {"payment_intent": "pi_other"}],
    ids=["more", "less", "currency", "payment"],
)
async def test_a_refund_that_is_not_as_asked_refunds_nothing(
    desk: "Desk", trade: "Trade", lie: dict[str, Any]
) -> None:
    escrow_id = await desk.funded(trade)
    await desk.work_later()
    before = await desk.postings(escrow_id)
    await desk.refund(trade.seller_id, escrow_id)
    await desk.runner.run_one()
    await desk.provider.say("refund", (await desk.provider.only("refund"))["id"], **lie)
    await desk.work()
    row = await desk.database.one("SELECT status, settling FROM escrows")
    assert (row["status"], row["settling"]) == ("FUNDS_HELD", "REFUND")
    assert await desk.postings(escrow_id) == before
    job = await desk.database.one(
        "SELECT last_error FROM jobs WHERE kind = 'stripe.watch' AND status = 'PENDING'"
    )
    assert job["last_error"].startswith("ProviderDisagrees")


async def test_the_figures_stamped_at_acceptance_are_what_is_kept_and_paid(
    desk: "Desk", trade: "Trade"
) -> None:
    """Today's fee would be 11,250; the sides agreed when it was another."""
    escrow_id = await desk.open(trade, fee=9_999, fee_basis_points=222)
    await desk.pay(trade, escrow_id)
    await desk.work_later()
    await desk.deliver(trade, escrow_id)
    await desk.make_payable(trade.seller_id)
    assert (await desk.confirm(trade, escrow_id)).json()["payout"] == 440_001
    await desk.work_later()
    assert (await desk.provider.only("transfer"))["amount"] == 440_001
    assert [p[1:3] for p in await desk.postings(escrow_id) if p[0] == "released"] == [
        ("escrow:held", -450_000),
        ("stripe:balance", 440_001),
        ("platform:fees", 9_999),
    ]
    row = await desk.database.one(
        "SELECT fee, (deal->'terms'->>'fee')::int AS agreed, deal->'terms'->>'fee_basis_points'"
        " AS rate FROM escrows"
    )
    assert tuple(row.values()) == (9_999, 9_999, "222")
    assert (await desk.told(escrow_id))[-1]["fee"] == 9_999


async def test_a_refund_that_fails_leaves_the_money_held(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    await desk.refund(trade.seller_id, escrow_id)
    await desk.runner.run_one()
    await desk.provider.say("refund", (await desk.provider.only("refund"))["id"], status="failed")
    await desk.work()
    row = await desk.database.one("SELECT status, settling FROM escrows")
    assert (row["status"], row["settling"]) == ("FUNDS_HELD", None)
    assert await desk.postings(escrow_id) == FUNDED


@pytest.mark.parametrize(
    "lie",
    [
        {"amount": 438_751},
        {"currency": "eur"},
        {"destination": "acct_thief"},
        {"reversed": True},
    ],
    ids=lambda lie: next(iter(lie)),
)
async def test_a_transfer_that_is_not_as_asked_releases_nothing(
    desk: "Desk", trade: "Trade", lie: dict[str, Any]
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.confirm(trade, escrow_id)
    await desk.runner.run_one()
    await desk.provider.say("transfer", (await desk.provider.only("transfer"))["id"], **lie)
    await desk.work()
    row = await desk.database.one("SELECT status, settling FROM escrows")
    assert (row["status"], row["settling"]) == ("DELIVERED", "RELEASE")
    assert await desk.postings(escrow_id) == FUNDED
    job = await desk.database.one(
        "SELECT last_error FROM jobs WHERE kind = 'stripe.watch' AND status = 'PENDING'"
    )
    assert job["last_error"].startswith("ProviderDisagrees")


async def test_a_payout_waits_until_the_seller_can_be_paid(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    answer = await desk.confirm(trade, escrow_id)
    assert answer.status_code == 200
    assert (answer.json()["settling"], answer.json()["waits_for"]) == (
        None,
        "SELLER_PAYOUT_ACCOUNT",
    )
    again = await desk.confirm(trade, escrow_id)
    assert again.json()["type"].endswith("/already-confirmed")
    await desk.work_later()
    assert await desk.provider.objects("transfer") == []

    await desk.make_payable(trade.seller_id)
    await desk.work()
    assert await desk.status(escrow_id) == "RELEASED"
    assert (await desk.provider.only("transfer"))["amount"] == 438_750


async def test_a_seller_who_is_payable_no_more_is_paid_later(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    account = await desk.provider.only("account")
    await desk.provider.say("account", account["id"], is_active=False)
    await desk.confirm(trade, escrow_id)
    await desk.work()
    view = (await desk.get(trade.seller_id, f"/v1/escrows/{escrow_id}")).json()
    assert (view["settling"], view["waits_for"]) == (None, "SELLER_PAYOUT_ACCOUNT")

    await desk.provider.say("account", account["id"], is_active=True)
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    assert len(await desk.provider.objects("transfer")) == 1
    tries = await desk.database.rows("SELECT state FROM intents WHERE kind = 'release' ORDER BY id")
    assert [row["state"] for row in tries] == ["FAILED", "SETTLED"]


async def test_a_frozen_seller_is_not_paid_and_may_do_nothing(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)

    async def freeze(version: int, *, is_frozen: bool) -> None:
        event = UserUpdated(
            version=version,
            user_id=trade.seller_id,
            name="sasha",
            kyc_tier=KycTier.TIER_1,
            is_frozen=is_frozen,
            roles=[],
            wallet_risk="LOW",
            effective_from=datetime(2026, 11, 1, tzinfo=UTC),
        )
        async with desk.database.sessions.begin() as session:
            await opening.note_user(session, event)

    await freeze(2, is_frozen=True)
    refused = await desk.post(trade.seller_id, "/v1/payout-account")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (
        403,
        "account-frozen",
    )
    await desk.confirm(trade, escrow_id)
    await desk.work_later()
    assert await desk.provider.objects("transfer") == []
    await freeze(3, is_frozen=False)
    await freeze(1, is_frozen=True)
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
