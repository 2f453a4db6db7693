"""Refunds of charges, whole or in part."""

from typing import Any

from simulators.state import Record
from simulators.stripe.wire import StripeRefused, merge_metadata
from simulators.stripe.world import CARDS, PLATFORM, StripeWorld, amount_of


def refund(world: StripeWorld, params: dict[str, Any]) -> Record:
    """Send money back to the card; transfers out of the charge stay as they are.

    Raises:
        StripeRefused: there is nothing (so much) left to refund, or the charge is disputed.
    """
    charge = _charge_to_refund(world, params)
    left = charge["amount"] - charge["amount_refunded"]
    if charge["disputed"]:
        raise StripeRefused(
            400, f"Charge {charge['id']} has been charged back.", code="charge_disputed"
        )
    if left == 0:
        raise StripeRefused(
            400,
            f"Charge {charge['id']} has already been refunded.",
            code="charge_already_refunded",
        )
    amount = amount_of(params) if "amount" in params else left
    if amount > left:
        raise StripeRefused(
            400,
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
            param="amount",
        )
    refund = world.new(
        "re",
        "refund",
        amount=amount,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"type": "card", "card": {"type": "refund"}},
        metadata=merge_metadata({}, params.get("metadata")),
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        receipt_number=None,
        source_transfer_reversal=None,
        status="succeeded",
        transfer_reversal=None,
    )
    refund["balance_transaction"] = world.move("refund", refund, {PLATFORM: -amount, CARDS: amount})
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.put(charge)
    world.put(refund)
    world.tell("charge.refunded", charge)
    world.tell("refund.created", refund)
    return refund


def _charge_to_refund(world: StripeWorld, params: dict[str, Any]) -> Record:
    if ("charge" in params) == ("payment_intent" in params):
        raise StripeRefused(
            400,
            "One of the following params should be provided for this request: "
            "payment_intent or charge.",
            code="parameter_missing",
        )
    if "charge" in params:
        charge = world.get("charge", params["charge"], "charge")
    else:
        intent = world.get("payment_intent", params["payment_intent"], "payment_intent")
        charge = world.find(intent["latest_charge"] or "") or {"status": "none"}
    if charge["status"] != "succeeded":
        raise StripeRefused(
            400,
            "This PaymentIntent does not have a successful charge to refund.",
            code="missing_required_parameter",
        )
    return charge
