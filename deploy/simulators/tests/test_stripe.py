"""The simulated Stripe, driven by the real SDK."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

PUBLISHABLE = {"Authorization": "Bearer pk_test_anything"}


async def _paid(client: stripe.StripeClient, amount: int = 450_000) -> stripe.PaymentIntent:
    intent = await client.v1.payment_intents.create_async(
        {"amount": amount, "currency": "usd", "transfer_group": "escrow-1"}
    )
    return await client.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_visa"}
    )


async def _payable(client: stripe.StripeClient, control: httpx.AsyncClient) -> str:
    account = await client.v2.core.accounts.create_async(
        {"contact_email": "sasha@example.com", "dashboard": "express"}
    )
    link = await client.v2.core.account_links.create_async(
        {
            "account": account.id,
            "use_case": {
                "type": "account_onboarding",
                "account_onboarding": {
                    "refresh_url": "https://example.com/refresh",
                    "return_url": "https://example.com/return",
                },
            },
        }
    )
    await control.get(link.url)
    return account.id


async def test_a_browser_pays_with_the_client_secret(
    client: stripe.StripeClient, control: httpx.AsyncClient, receiver: Any
) -> None:
    intent = await client.v1.payment_intents.create_async({"amount": 450_000, "currency": "usd"})
    assert intent.status == "requires_payment_method"
    path = f"/stripe/v1/payment_intents/{intent.id}/confirm"
    card = {"payment_method": "pm_card_visa"}
    wrong = await control.post(path, data=card | {"client_secret": "x"}, headers=PUBLISHABLE)
    assert wrong.status_code == 401
    secret = {"client_secret": str(intent.client_secret)}
    paid = await control.post(path, data=card | secret, headers=PUBLISHABLE)
    assert paid.json()["status"] == "succeeded"
    fetched = await client.v1.payment_intents.retrieve_async(intent.id)
    assert (fetched.status, fetched.amount_received) == ("succeeded", 450_000)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
async def test_a_declined_card_is_402(client: stripe.StripeClient, card: str, code: str) -> None:
    intent = await client.v1.payment_intents.create_async({"amount": 5000, "currency": "usd"})
    with pytest.raises(stripe.CardError) as refusal:
        await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": card})
    assert refusal.value.http_status == 402
    assert refusal.value.error is not None
    assert refusal.value.error.decline_code == code
    again = await client.v1.payment_intents.retrieve_async(intent.id)
    assert again.latest_charge is None


async def test_answers_are_as_the_sdk_types_them(
    client: stripe.StripeClient,
    control: httpx.AsyncClient,
    complaints: Callable[[type, dict[str, Any]], list[str]],
) -> None:
    intent = await _paid(client)
    account = await _payable(client, control)
    transfer = await client.v1.transfers.create_async(
        {
            "amount": 1000,
            "currency": "usd",
            "destination": account,
            "source_transaction": str(intent.latest_charge),
        }
    )
    refund = await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 500})
    for kind, thing in (
        (stripe.PaymentIntent, intent),
        (stripe.Transfer, transfer),
        (stripe.Refund, refund),
    ):
        assert complaints(kind, thing.to_dict()) == []
    broken = transfer.to_dict() | {"amount": "1000", "mood": "good"}
    del broken["currency"]
    assert complaints(stripe.Transfer, broken) == [
        "unknown mood",
        "not an int amount",
        "missing currency",
    ]


async def test_unknown_and_missing_parameters_are_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        await client.v1.transfers.create_async(
            {"amount": 5, "currency": "usd", "destination": "acct_1", "fee": 1}  # type: ignore[typeddict-unknown-key]
        )
    assert (unknown.value.code, unknown.value.param) == ("parameter_unknown", "fee")
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await client.v1.transfers.create_async({"amount": 5, "currency": "usd"})  # type: ignore[typeddict-item]
    assert (missing.value.code, missing.value.param) == ("parameter_missing", "destination")


async def test_transfers_never_exceed_the_charge(
    client: stripe.StripeClient, control: httpx.AsyncClient
) -> None:
    intent = await _paid(client)
    account = await _payable(client, control)
    order: Any = {
        "amount": 300_000,
        "currency": "usd",
        "destination": account,
        "source_transaction": intent.latest_charge,
    }
    await client.v1.transfers.create_async(order)
    with pytest.raises(stripe.InvalidRequestError, match="exceed"):
        await client.v1.transfers.create_async(order)
    found = await client.v1.transfers.list_async({"destination": account})
    assert [transfer.amount for transfer in found.data] == [300_000]


async def test_who_is_not_onboarded_cannot_be_paid(client: stripe.StripeClient) -> None:
    intent = await _paid(client)
    account = await client.v2.core.accounts.create_async({})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await client.v1.transfers.create_async(
            {
                "amount": 1,
                "currency": "usd",
                "destination": account.id,
                "source_transaction": str(intent.latest_charge),
            }
        )
    assert refusal.value.code == "insufficient_capabilities_for_transfer"


async def test_refunds_stop_at_what_was_paid(client: stripe.StripeClient) -> None:
    intent = await _paid(client, 1000)
    await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 400})
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 601})
    await client.v1.refunds.create_async({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await client.v1.refunds.create_async({"payment_intent": intent.id})
    assert refusal.value.code == "charge_already_refunded"


async def test_one_key_is_one_effect(
    client: stripe.StripeClient, control: httpx.AsyncClient
) -> None:
    order: Any = {"amount": 5000, "currency": "usd"}
    options: Any = {"idempotency_key": "fund:1"}
    first = await client.v1.payment_intents.create_async(order, options)
    second = await client.v1.payment_intents.create_async(order, options)
    assert second.id == first.id
    with pytest.raises(stripe.IdempotencyError):
        await client.v1.payment_intents.create_async(order | {"amount": 6000}, options)
    await control.post("/stripe/_sim/clock", json={"seconds": 25 * 3600})
    third = await client.v1.payment_intents.create_async(order, options)
    assert third.id != first.id


async def test_an_answer_lost_after_the_effect_is_found_under_the_same_key(
    client: stripe.StripeClient, control: httpx.AsyncClient
) -> None:
    rule = {"method": "POST", "path": "/v1/payment_intents", "action": "fail", "when": "after"}
    await control.post("/stripe/_sim/rules", json=rule | {"status": 500})
    order: Any = {"amount": 5000, "currency": "usd"}
    options: Any = {"idempotency_key": "fund:2"}
    with pytest.raises(stripe.APIError):
        await client.v1.payment_intents.create_async(order, options)
    again = await client.v1.payment_intents.create_async(order, options)
    found = await client.v1.payment_intents.list_async()
    assert [intent.id for intent in found.data] == [again.id]


async def test_webhooks_come_signed_and_again_until_taken(
    client: stripe.StripeClient, control: httpx.AsyncClient, receiver: Any
) -> None:
    receiver.status = 500
    await _paid(client)
    async with asyncio.timeout(10):
        while len(receiver.events) < 4:
            await asyncio.sleep(0.02)
        receiver.status = 200
        while not all(row["done"] for row in (await control.get("/stripe/_sim/deliveries")).json()):
            await asyncio.sleep(0.02)
    kinds = {event.type for event in receiver.events}
    assert kinds == {"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"}
    assert len(receiver.events) > len({event.id for event in receiver.events})


async def test_everything_survives_a_restart(client: stripe.StripeClient, state_file: Path) -> None:
    intent = await _paid(client)
    kept, mode = await asyncio.to_thread(
        lambda: (state_file.read_text(), state_file.stat().st_mode)
    )
    assert intent.id in json.loads(kept)["stripe"]["objects"]["payment_intent"]
    assert (mode & 0o777) == 0o600


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sk_test_other"},
        {"Authorization": "Bearer sk_test_bloxtr8", "Stripe-Version": "2020-01-01"},
    ],
)
async def test_a_wrong_key_or_version_is_refused(
    control: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await control.get("/stripe/v1/events", headers=headers)
    assert answer.status_code in {400, 401}
    assert answer.json()["error"]["type"] == "invalid_request_error"
