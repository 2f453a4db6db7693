"""Every simulated call is made with the real SDK, and every answer is as its types say."""

from typing import Any

import pytest
import stripe
import stripe.v2.core as v2

from simulators.sdk_types import complaints
from simulators.stripe.params import decode
from simulators.stripe.wire import StripeRefused, parse_form


def of(kind: Any, thing: Any) -> list[str]:
    return complaints(kind, thing.to_dict())


async def test_every_answer_is_as_the_sdk_types_it(client: Any, shop: Any) -> None:
    v1, core = client.v1, client.v2.core
    intent = await shop.intent(metadata={"intent_id": "1"})
    assert of(stripe.PaymentIntent, intent) == []
    assert of(stripe.PaymentIntent, await v1.payment_intents.retrieve_async(intent.id)) == []
    waiting = await v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_authenticationRequired"}
    )
    assert of(stripe.PaymentIntent, waiting) == []
    changed = await v1.payment_intents.update_async(intent.id, {"metadata": {"a": "b"}})
    assert of(stripe.PaymentIntent, changed) == []
    assert of(stripe.PaymentIntent, await v1.payment_intents.cancel_async(intent.id)) == []

    paid = await shop.paid(card="pm_card_createDispute")
    [dispute] = (await v1.disputes.list_async({"payment_intent": paid.id})).data
    assert of(stripe.Dispute, await v1.disputes.retrieve_async(dispute.id)) == []
    paid = await shop.paid()
    assert of(stripe.PaymentIntent, paid) == []
    expand: Any = {"expand": ["balance_transaction", "payment_intent"]}
    charge = await v1.charges.retrieve_async(paid.latest_charge, expand)
    assert of(stripe.Charge, charge) == []
    assert of(stripe.BalanceTransaction, charge.balance_transaction) == []
    assert of(stripe.Charge, await v1.charges.update_async(charge.id, {"description": "x"})) == []

    account = await core.accounts.retrieve_async(
        await shop.payable(),
        {"include": ["configuration.recipient", "defaults", "identity", "requirements"]},
    )
    assert of(v2.Account, account) == []
    assert of(stripe.Account, await v1.accounts.retrieve_async(account.id)) == []
    transfer = await shop.transfer(charge.id, account.id)
    assert of(stripe.Transfer, transfer) == []
    assert (
        of(stripe.Transfer, await v1.transfers.update_async(transfer.id, {"description": "x"}))
        == []
    )
    refund = await v1.refunds.create_async({"payment_intent": paid.id, "amount": 500})
    assert of(stripe.Refund, refund) == []
    await shop.sim("PUT", "/balance", {"account": account.id, "available": 5000})
    reversal = await v1.transfers.reversals.create_async(transfer.id, {"amount": 500})
    assert of(stripe.TransferReversal, reversal) == []
    found = await v1.transfers.reversals.retrieve_async(transfer.id, reversal.id)
    assert of(stripe.TransferReversal, found) == []
    assert of(stripe.Transfer, await v1.transfers.retrieve_async(transfer.id)) == []
    assert of(stripe.Balance, await v1.balance.retrieve_async()) == []

    for service, kind in (
        (v1.payment_intents, stripe.PaymentIntent),
        (v1.charges, stripe.Charge),
        (v1.refunds, stripe.Refund),
        (v1.transfers, stripe.Transfer),
        (v1.balance_transactions, stripe.BalanceTransaction),
        (v1.disputes, stripe.Dispute),
        (v1.events, stripe.Event),
    ):
        listed = await service.list_async({"limit": 100})
        assert listed.data, kind
        for thing in listed.data:
            assert of(kind, thing) == []
            assert (await service.retrieve_async(thing.id)).id == thing.id
    link = await core.account_links.create_async(
        {
            "account": account.id,
            "use_case": {
                "type": "account_onboarding",
                "account_onboarding": {"refresh_url": "https://example.com"},
            },
        }
    )
    assert of(v2.AccountLink, link) == []


async def test_the_checker_finds_what_is_wrong(shop: Any) -> None:
    paid = await shop.paid()
    transfer = (await shop.transfer(paid.latest_charge, await shop.payable())).to_dict()
    assert complaints(stripe.Transfer, transfer) == []
    broken = transfer | {"amount": "1000", "mood": "good", "object": "gift", "reversed": None}
    del broken["currency"]
    broken["reversals"] = transfer["reversals"] | {"data": [{"id": 1}]}
    assert set(complaints(stripe.Transfer, broken)) == {
        ".mood: unknown",
        ".amount: type is not int",
        ".currency: missing",
        ".object: value 'gift'",
        ".reversals.data[0].id: type is not str",
        ".reversals.data[0].amount: missing",
        ".reversals.data[0].created: missing",
        ".reversals.data[0].currency: missing",
        ".reversals.data[0].object: missing",
        ".reversals.data[0].transfer: missing",
        ".reversed: type is not bool",
    }


CREATE, TRANSFER = stripe.params.PaymentIntentCreateParams, stripe.params.TransferCreateParams


@pytest.mark.parametrize(
    ("kind", "form", "code", "param"),
    [
        (TRANSFER, "currency=usd&destination=a&fee=1", "parameter_unknown", "fee"),
        (TRANSFER, "currency=usd", "parameter_missing", "destination"),
        (CREATE, "amount=5.0&currency=usd", "parameter_invalid_integer", "amount"),
        (CREATE, "amount=1e3&currency=usd", "parameter_invalid_integer", "amount"),
        (CREATE, "amount=1&currency=usd&confirm=yes", None, "confirm"),
        (CREATE, "amount=1&currency=usd&capture_method=later", None, "capture_method"),
        (CREATE, "amount=1&currency=usd&metadata[a][b]=c", None, "metadata[a]"),
        (
            CREATE,
            "amount=1&currency=usd&payment_method_options[card][colour]=red",
            "parameter_unknown",
            "payment_method_options[card][colour]",
        ),
        (
            CREATE,
            "amount=1&currency=usd&automatic_payment_methods[allow_redirects]=never",
            "parameter_missing",
            "automatic_payment_methods[enabled]",
        ),
    ],
)
def test_parameters_are_as_strict_as_their_types(
    kind: type, form: str, code: str | None, param: str
) -> None:
    with pytest.raises(StripeRefused) as refusal:
        decode(kind, parse_form(form))
    assert (refusal.value.error["code"], refusal.value.error["param"]) == (code, param)


def test_a_form_becomes_values() -> None:
    form = (
        "amount=450000&currency=usd&confirm=true&metadata[1]=one&metadata[intent]=x%26y"
        "&expand[]=latest_charge&expand[]=customer&allowed_payment_method_types[0]=card"
        "&payment_method_options[card][request_three_d_secure]=any"
    )
    assert decode(CREATE, parse_form(form)) == {
        "amount": 450_000,
        "currency": "usd",
        "confirm": True,
        "metadata": {"1": "one", "intent": "x&y"},
        "expand": ["latest_charge", "customer"],
        "allowed_payment_method_types": ["card"],
        "payment_method_options": {"card": {"request_three_d_secure": "any"}},
    }


@pytest.mark.parametrize("form", ["a[b=c", "[a]=b", "a]=c", "a=1&a[b]=2"])
def test_a_form_that_cannot_be_read_is_refused(form: str) -> None:
    with pytest.raises(StripeRefused):
        decode(CREATE, parse_form(form))
