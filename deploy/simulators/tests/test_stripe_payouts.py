"""Money goes out at most once, only to who can take it, and never more than came in."""

from typing import Any

import pytest
import stripe


async def _refusal(call: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await call
    return refusal.value


async def test_transfers_never_exceed_the_charge(client: Any, shop: Any) -> None:
    charge, account = (await shop.paid()).latest_charge, await shop.payable()
    await shop.transfer(charge, account, 300_000)
    error = await _refusal(shop.transfer(charge, account, 150_001))
    assert error.param == "source_transaction"
    await shop.transfer(charge, account, 150_000)
    found = await client.v1.transfers.list_async({"destination": account})
    assert [transfer.amount for transfer in found.data] == [150_000, 300_000]
    assert {transfer.transfer_group for transfer in found.data} == {"escrow-1"}


async def test_a_refunded_charge_can_still_be_transferred_from(client: Any, shop: Any) -> None:
    """As at Stripe: forbidding it is the platform's own business."""
    intent = await shop.paid()
    await client.v1.refunds.create_async({"payment_intent": intent.id})
    assert (await shop.transfer(intent.latest_charge, await shop.payable())).amount == 438_750


async def test_a_transfer_is_in_the_currency_of_its_charge(client: Any, shop: Any) -> None:
    intent, account = await shop.paid(), await shop.payable()
    order = {
        "amount": 1,
        "currency": "eur",
        "destination": account,
        "source_transaction": intent.latest_charge,
    }
    assert (await _refusal(client.v1.transfers.create_async(order))).param == "currency"
    assert (await client.v1.transfers.list_async()).data == []


async def test_who_is_not_onboarded_cannot_be_paid(client: Any, shop: Any) -> None:
    intent, account = await shop.paid(), await shop.account()
    error = await _refusal(shop.transfer(intent.latest_charge, account))
    assert error.code == "insufficient_capabilities_for_transfer"
    include: Any = {"include": ["configuration.recipient"]}

    async def status() -> str:
        found = await client.v2.core.accounts.retrieve_async(account, include)
        return str(
            found.configuration.recipient.capabilities.stripe_balance.stripe_transfers.status
        )

    assert await status() == "restricted"
    bare = await client.v2.core.accounts.retrieve_async(account)
    assert bare.configuration is None
    assert (await shop.control.get(await shop.link(account))).status_code == 200
    assert await status() == "active"
    assert (await client.v1.accounts.retrieve_async(account)).capabilities.transfers == "active"
    assert (await shop.transfer(intent.latest_charge, account)).destination == account
    unknown = await _refusal(shop.transfer(intent.latest_charge, "acct_unknown"))
    assert unknown.param == "destination"


async def test_an_onboarding_link_does_not_last(shop: Any) -> None:
    url = await shop.link(await shop.account())
    await shop.sim("POST", "/clock", {"seconds": 601})
    assert (await shop.control.get(url)).status_code == 404


async def test_without_a_charge_only_available_money_goes_out(client: Any, shop: Any) -> None:
    account = await shop.payable()
    await shop.paid(100_000)
    order: Any = {"amount": 50_000, "currency": "usd", "destination": account}
    assert (await _refusal(client.v1.transfers.create_async(order))).code == "balance_insufficient"
    balance = await client.v1.balance.retrieve_async()
    assert (balance.available[0].amount, balance.pending[0].amount) == (0, 97_070)
    await shop.sim("POST", "/clock", {"seconds": 2 * 24 * 3600})
    await client.v1.transfers.create_async(order)
    balance = await client.v1.balance.retrieve_async()
    assert (balance.available[0].amount, balance.pending[0].amount) == (47_070, 0)
    of_account = await client.v1.balance.retrieve_async(options={"stripe_account": account})
    assert of_account.available[0].amount == 50_000


async def test_a_reversal_takes_only_what_the_account_still_has(client: Any, shop: Any) -> None:
    account = await shop.payable()
    transfer = await shop.transfer((await shop.paid(100_000)).latest_charge, account, 50_000)
    reverse = client.v1.transfers.reversals.create_async
    pending = await _refusal(reverse(transfer.id))
    assert pending.code == "balance_insufficient"
    await shop.sim("POST", "/clock", {"seconds": 2 * 24 * 3600})
    assert (await reverse(transfer.id, {"amount": 20_000})).amount == 20_000
    assert (await _refusal(reverse(transfer.id, {"amount": 30_001}))).param == "amount"
    await shop.sim("PUT", "/balance", {"account": account, "available": 29_999})
    assert (await _refusal(reverse(transfer.id))).code == "balance_insufficient"
    found = await client.v1.transfers.retrieve_async(transfer.id)
    assert (found.amount_reversed, found.reversed) == (20_000, False)
    assert [reversal.amount for reversal in found.reversals.data] == [20_000]
    assert (await shop.sim("GET", "/ledger"))["sum"] == 0


async def test_every_movement_sums_to_zero(client: Any, shop: Any) -> None:
    account, intent = await shop.payable(), await shop.paid()
    await shop.transfer(intent.latest_charge, account)
    await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 700})
    entries = (await shop.sim("GET", "/ledger"))["entries"]
    movements: dict[str, int] = {}
    for entry in entries:
        movements[entry["source"]] = movements.get(entry["source"], 0) + entry["amount"]
    assert list(movements.values()) == [0, 0, 0]
    own = sum(entry["amount"] for entry in entries if entry["account"] == "platform")
    assert own == 436_920 - 438_750 - 700
    moved = await client.v1.balance_transactions.list_async()
    assert [transaction.net for transaction in moved.data] == [-700, -438_750, 436_920]
