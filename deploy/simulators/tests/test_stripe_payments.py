"""Paying, failing to pay, cancelling, refunding and disputing, as the buyer and the bank do it."""

from typing import Any

import pytest
import stripe

PUBLISHABLE = {"Authorization": "Bearer pk_test_anything"}


async def _browser(shop: Any, intent: Any, **form: str) -> Any:
    return await shop.control.post(
        f"/stripe/v1/payment_intents/{intent.id}/confirm",
        data={"client_secret": intent.client_secret, **form},
        headers=PUBLISHABLE,
    )


async def _status(client: Any, intent: Any) -> str:
    return str((await client.v1.payment_intents.retrieve_async(intent.id)).status)


@pytest.mark.parametrize(
    "form",
    [
        {"payment_method": "pm_card_visa"},
        {
            "payment_method_data[type]": "card",
            "payment_method_data[card][number]": "4242424242424242",
            "payment_method_data[card][cvc]": "123",
        },
    ],
)
async def test_a_browser_pays_with_the_client_secret(
    client: Any, shop: Any, form: dict[str, str]
) -> None:
    intent = await shop.intent()
    assert (intent.status, intent.latest_charge) == ("requires_payment_method", None)
    paid = (await _browser(shop, intent, **form)).json()
    assert (paid["status"], paid["amount_received"]) == ("succeeded", 450_000)
    charge = await client.v1.charges.retrieve_async(
        paid["latest_charge"], {"expand": ["balance_transaction"]}
    )
    assert (charge.amount, charge.payment_method_details.card.last4) == (450_000, "4242")
    money = charge.balance_transaction
    assert (money.amount, money.fee, money.net) == (450_000, 13_080, 436_920)


@pytest.mark.parametrize("secret", ["", "pi_1_secret_2"])
async def test_a_browser_without_the_secret_pays_nothing(
    client: Any, shop: Any, secret: str
) -> None:
    intent = await shop.intent()
    form = {"client_secret": secret, "payment_method": "pm_card_visa"}
    answer = await _browser(shop, intent, **form)
    assert (answer.status_code, answer.json()["error"]["param"]) == (401, "client_secret")
    listed = await shop.control.get("/stripe/v1/charges?client_secret=", headers=PUBLISHABLE)
    assert (listed.status_code, listed.json()["error"]["code"]) == (403, "secret_key_required")
    assert await _status(client, intent) == "requires_payment_method"


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("4000000000000002", "generic_decline"),
        ("4000000000009995", "insufficient_funds"),
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
async def test_a_declined_card_is_402_and_another_may_follow(
    client: Any, shop: Any, card: str, reason: str
) -> None:
    intent = await shop.intent()
    if card.startswith("pm_"):
        with pytest.raises(stripe.CardError) as refusal:
            await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": card})
        assert refusal.value.http_status == 402
        body: Any = refusal.value.json_body
    else:
        number = {"payment_method_data[type]": "card", "payment_method_data[card][number]": card}
        answer = await _browser(shop, intent, **number)
        assert answer.status_code == 402
        body = answer.json()
    error = body["error"]
    assert (error["type"], error["code"]) == ("card_error", "card_declined")
    assert error["decline_code"] == reason
    again = await client.v1.payment_intents.retrieve_async(intent.id)
    assert (again.status, again.amount_received) == ("requires_payment_method", 0)
    assert again.last_payment_error.decline_code == reason
    assert (await client.v1.balance.retrieve_async()).pending[0].amount == 0
    assert (await _browser(shop, intent, payment_method="pm_card_visa")).status_code == 200


@pytest.mark.parametrize(
    ("outcome", "status"), [("pay", "succeeded"), ("fail", "requires_payment_method")]
)
async def test_3d_secure_is_decided_on_the_banks_page(
    client: Any, shop: Any, outcome: str, status: str
) -> None:
    intent = await shop.intent()
    number = "4000002760003184"
    answer = await _browser(
        shop,
        intent,
        **{"payment_method_data[type]": "card", "payment_method_data[card][number]": number},
    )
    waiting = answer.json()
    assert waiting["status"] == "requires_action"
    page = waiting["next_action"]["redirect_to_url"]["url"]
    assert (await shop.control.get(page, params={"outcome": outcome})).status_code == 200
    assert await _status(client, intent) == status


async def test_what_is_over_is_neither_paid_nor_cancelled(client: Any, shop: Any) -> None:
    paid, cancelled = await shop.paid(), await shop.intent()
    await client.v1.payment_intents.cancel_async(cancelled.id, {"cancellation_reason": "abandoned"})
    for intent in (paid, cancelled):
        for call in (
            client.v1.payment_intents.cancel_async(intent.id),
            client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"}),
        ):
            with pytest.raises(stripe.InvalidRequestError) as refusal:
                await call
            assert refusal.value.code == "payment_intent_unexpected_state"
    assert await _status(client, paid) == "succeeded"
    assert await _status(client, cancelled) == "canceled"
    assert len((await client.v1.charges.list_async()).data) == 1


@pytest.mark.parametrize("amount", [0, -1, 49, 100_000_000])
async def test_amounts_have_bounds(client: Any, shop: Any, amount: int) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await shop.intent(amount)
    assert refusal.value.param == "amount"
    assert (await client.v1.payment_intents.list_async()).data == []


async def test_refunds_stop_at_what_was_paid(client: Any, shop: Any) -> None:
    intent = await shop.paid(1000)

    async def refund(**params: Any) -> Any:
        return await client.v1.refunds.create_async({"payment_intent": intent.id, **params})

    await refund(amount=400)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await refund(amount=601)
    assert refusal.value.param == "amount"
    assert (await refund()).amount == 600
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await refund()
    assert refusal.value.code == "charge_already_refunded"
    charge = await client.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (1000, True)
    found = await client.v1.refunds.list_async({"payment_intent": intent.id})
    assert [refund.amount for refund in found.data] == [600, 400]
    unpaid = await shop.intent()
    with pytest.raises(stripe.InvalidRequestError, match="successful charge"):
        await client.v1.refunds.create_async({"payment_intent": unpaid.id})


@pytest.mark.parametrize(("outcome", "net"), [("win", -1500), ("lose", -51_500)])
async def test_a_dispute_takes_the_money_until_it_is_won(
    client: Any, shop: Any, outcome: str, net: int
) -> None:
    intent = await shop.paid(50_000)
    dispute = await shop.sim("POST", "/disputes", {"charge": intent.latest_charge})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await client.v1.refunds.create_async({"payment_intent": intent.id})
    assert refusal.value.code == "charge_disputed"
    closed = await shop.sim("POST", f"/disputes/{dispute['id']}/{outcome}")
    assert closed["status"] == {"win": "won", "lose": "lost"}[outcome]
    moved = await client.v1.balance_transactions.list_async({"type": "adjustment"})
    assert sum(transaction.net for transaction in moved.data) == net
    again = await shop.control.post(f"/stripe/_sim/disputes/{dispute['id']}/lose")
    assert again.status_code == 409
    assert (await shop.sim("GET", "/ledger"))["sum"] == 0


async def test_lists_go_on_where_they_stopped(client: Any, shop: Any) -> None:
    made = [(await shop.intent(100 + n)).id for n in range(5)]
    pages = client.v1.payment_intents
    first = await pages.list_async({"limit": 2})
    assert ([i.id for i in first.data], first.has_more) == ([made[4], made[3]], True)
    last = await pages.list_async({"limit": 3, "starting_after": made[3]})
    assert ([i.id for i in last.data], last.has_more) == ([made[2], made[1], made[0]], False)
    newer = await pages.list_async({"limit": 2, "ending_before": made[1]})
    assert ([i.id for i in newer.data], newer.has_more) == ([made[3], made[2]], True)
    listed = await pages.list_async({"limit": 2})
    assert [i.id async for i in listed.auto_paging_iter()] == made[::-1]
    for wrong in ({"limit": 0}, {"limit": 101}, {"starting_after": "pi_unknown"}):
        with pytest.raises(stripe.InvalidRequestError):
            await pages.list_async(wrong)


async def test_metadata_is_merged(client: Any, shop: Any) -> None:
    intent = await shop.intent(metadata={"a": "1", "b": "2"})
    update = client.v1.payment_intents.update_async
    assert (await update(intent.id, {"metadata": {"b": "", "c": "3"}})).metadata.to_dict() == {
        "a": "1",
        "c": "3",
    }
    assert (await update(intent.id, {"metadata": ""})).metadata.to_dict() == {}
    with pytest.raises(stripe.InvalidRequestError):
        await update(intent.id, {"metadata": {"k" * 41: "v"}})


async def test_ids_become_objects_when_asked_for(client: Any, shop: Any) -> None:
    paid = await shop.paid()
    path = "latest_charge.balance_transaction"
    one = await client.v1.payment_intents.retrieve_async(paid.id, {"expand": [path]})
    assert one.latest_charge.balance_transaction.net == 436_920
    listed = await client.v1.payment_intents.list_async({"expand": ["data.latest_charge"]})
    assert [intent.latest_charge.id for intent in listed.data] == [paid.latest_charge]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await shop.intent(expand=["mood"])
    assert refusal.value.param == "expand"
    assert len((await client.v1.payment_intents.list_async()).data) == 1
