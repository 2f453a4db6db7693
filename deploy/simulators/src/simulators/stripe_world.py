"""The objects of one Stripe platform account, and the rules by which money moves between them."""

from typing import Any

from simulators.state import State, make_id
from simulators.stripe_wire import StripeRefused

DECLINED = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "4000000000000002": ("card_declined", "generic_decline"),
    "4000000000009995": ("card_declined", "insufficient_funds"),
}
NEEDS_3DS = {"pm_card_threeDSecure2Required", "4000002760003184"}
LAST_PAYMENT_STATES = {"succeeded", "canceled"}


class StripeWorld:
    """Objects by type and id; every change of one is also an event."""

    def __init__(self, state: State) -> None:
        self.state = state

    def of(self, kind: str) -> dict[str, Any]:
        objects: dict[str, Any] = self.state.data["stripe"]["objects"]
        return dict(objects.get(kind, {}))

    def get(self, kind: str, object_id: str) -> dict[str, Any]:
        found = self.of(kind).get(object_id)
        if found is None:
            raise StripeRefused(
                404, f"No such {kind}: '{object_id}'", code="resource_missing", param="id"
            )
        return dict(found)

    def put(self, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        self.state.data["stripe"]["objects"].setdefault(kind, {})[thing["id"]] = thing
        return thing

    def tell(self, event_type: str, thing: dict[str, Any]) -> None:
        """Record an event; the webhook sender delivers it."""
        event = {
            "id": make_id("evt"),
            "object": "event",
            "api_version": None,
            "created": self.state.now(),
            "data": {"object": dict(thing)},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": make_id("req"), "idempotency_key": None},
            "type": event_type,
        }
        self.state.data["stripe"]["events"].append(event)
        self.state.data["stripe"]["deliveries"].append(
            {"event": event["id"], "tries": 0, "due_at": 0, "done": False}
        )

    def _new(self, prefix: str, kind: str, **fields: Any) -> dict[str, Any]:
        common = {"id": make_id(prefix), "object": kind, "created": self.state.now()}
        return common | {"livemode": False} | fields

    def open_payment(self, params: dict[str, Any], amount: int) -> dict[str, Any]:
        intent = self._new(
            "pi",
            "payment_intent",
            amount=amount,
            amount_capturable=0,
            amount_received=0,
            automatic_payment_methods={"enabled": True, "allow_redirects": "always"},
            canceled_at=None,
            cancellation_reason=None,
            capture_method="automatic_async",
            confirmation_method="automatic",
            currency=params["currency"],
            customer=None,
            description=params.get("description"),
            last_payment_error=None,
            latest_charge=None,
            metadata=params.get("metadata", {}),
            next_action=None,
            payment_method=None,
            payment_method_types=["card"],
            receipt_email=None,
            status="requires_payment_method",
            transfer_group=params.get("transfer_group"),
        )
        intent["client_secret"] = f"{intent['id']}_secret_{make_id('s')[2:]}"
        self.tell("payment_intent.created", intent)
        return self.put("payment_intent", intent)

    def confirm_payment(self, intent: dict[str, Any], method: str) -> dict[str, Any]:
        """Charge the card.

        Raises:
            StripeRefused: 402 when the card is declined; 400 when the intent is past paying.
        """
        if intent["status"] in LAST_PAYMENT_STATES:
            raise StripeRefused(
                400,
                f"This PaymentIntent's status is {intent['status']}; it cannot be confirmed.",
                code="payment_intent_unexpected_state",
            )
        if method in DECLINED:
            code, reason = DECLINED[method]
            intent["last_payment_error"] = {"type": "card_error", "code": code}
            self.put("payment_intent", intent)
            self.tell("payment_intent.payment_failed", intent)
            raise StripeRefused(
                402,
                "Your card was declined.",
                kind="card_error",
                code=code,
                decline_code=reason,
            )
        if method in NEEDS_3DS and intent["status"] != "requires_action":
            intent |= {"status": "requires_action", "next_action": {"type": "use_stripe_sdk"}}
            self.tell("payment_intent.requires_action", intent)
            return self.put("payment_intent", intent)
        charge = self._charge(intent)
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": charge["id"],
            "payment_method": method,
            "next_action": None,
        }
        self.put("payment_intent", intent)
        self.tell("charge.succeeded", charge)
        self.tell("payment_intent.succeeded", intent)
        return intent

    def _charge(self, intent: dict[str, Any]) -> dict[str, Any]:
        charge = self._new(
            "ch",
            "charge",
            amount=intent["amount"],
            amount_captured=intent["amount"],
            amount_refunded=0,
            captured=True,
            currency=intent["currency"],
            disputed=False,
            metadata=intent["metadata"],
            paid=True,
            payment_intent=intent["id"],
            refunded=False,
            status="succeeded",
            transfer_group=intent["transfer_group"],
        )
        fee = (intent["amount"] * 290 + 5_000) // 10_000 + 30
        balance = self._balance("charge", charge, intent["amount"], fee)
        charge["balance_transaction"] = balance["id"]
        return self.put("charge", charge)

    def _balance(
        self, kind: str, source: dict[str, Any], amount: int, fee: int = 0
    ) -> dict[str, Any]:
        transaction = self._new(
            "txn",
            "balance_transaction",
            amount=amount,
            fee=fee,
            net=amount - fee,
            currency=source["currency"],
            source=source["id"],
            status="pending",
            type=kind,
            reporting_category=kind,
            description=None,
            exchange_rate=None,
            fee_details=[],
            available_on=self.state.now(),
        )
        return self.put("balance_transaction", transaction)

    def cancel_payment(self, intent: dict[str, Any], reason: str | None) -> dict[str, Any]:
        if intent["status"] in LAST_PAYMENT_STATES:
            raise StripeRefused(
                400,
                f"You cannot cancel this PaymentIntent because it is {intent['status']}.",
                code="payment_intent_unexpected_state",
            )
        intent |= {
            "status": "canceled",
            "canceled_at": self.state.now(),
            "cancellation_reason": reason,
        }
        self.tell("payment_intent.canceled", intent)
        return self.put("payment_intent", intent)

    def transfer(self, params: dict[str, Any], amount: int) -> dict[str, Any]:
        account = self.of("account").get(params["destination"])
        if account is None:
            raise StripeRefused(
                400, f"No such destination: '{params['destination']}'", param="destination"
            )
        if not account["is_active"]:
            raise StripeRefused(
                400,
                "The destination account cannot receive transfers yet.",
                code="insufficient_capabilities_for_transfer",
            )
        source = params.get("source_transaction")
        if source is None:
            raise StripeRefused(400, "Insufficient available funds.", code="balance_insufficient")
        charge = self.get("charge", source)
        if charge["currency"] != params["currency"]:
            raise StripeRefused(400, "The currency is not the charge's.", param="currency")
        sent = sum(
            t["amount"] for t in self.of("transfer").values() if t["source_transaction"] == source
        )
        if sent + amount > charge["amount"]:
            raise StripeRefused(
                400, "Transfers would exceed the source charge.", param="source_transaction"
            )
        made = self._new(
            "tr",
            "transfer",
            amount=amount,
            amount_reversed=0,
            currency=params["currency"],
            description=params.get("description"),
            destination=account["id"],
            destination_payment=make_id("py"),
            metadata=params.get("metadata", {}),
            reversals={
                "object": "list",
                "data": [],
                "has_more": False,
                "url": "/v1/transfers/reversals",
            },
            reversed=False,
            source_transaction=source,
            source_type="card",
            transfer_group=params.get("transfer_group"),
        )
        made["balance_transaction"] = self._balance("transfer", made, -amount)["id"]
        self.tell("transfer.created", made)
        return self.put("transfer", made)

    def refund(self, params: dict[str, Any], amount: int | None) -> dict[str, Any]:
        charge = self._refunded_charge(params)
        left = charge["amount"] - charge["amount_refunded"]
        amount = left if amount is None else amount
        if amount > left or left == 0:
            raise StripeRefused(
                400,
                f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
                code="charge_already_refunded" if left == 0 else "amount_too_large",
                param="amount",
            )
        made = self._new(
            "re",
            "refund",
            amount=amount,
            charge=charge["id"],
            currency=charge["currency"],
            metadata=params.get("metadata", {}),
            payment_intent=charge["payment_intent"],
            reason=params.get("reason"),
            receipt_number=None,
            source_transfer_reversal=None,
            status="succeeded",
            transfer_reversal=None,
        )
        del made["livemode"]  # the one resource without it
        made["balance_transaction"] = self._balance("refund", made, -amount)["id"]
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.put("charge", charge)
        self.tell("charge.refunded", charge)
        self.tell("refund.created", made)
        return self.put("refund", made)

    def _refunded_charge(self, params: dict[str, Any]) -> dict[str, Any]:
        if "charge" in params:
            return self.get("charge", params["charge"])
        intent = self.get("payment_intent", params.get("payment_intent", ""))
        if intent["latest_charge"] is None:
            raise StripeRefused(400, "This PaymentIntent has no successful charge to refund.")
        return self.get("charge", intent["latest_charge"])

    def open_account(self, body: dict[str, Any]) -> dict[str, Any]:
        account = {
            "id": make_id("acct"),
            "created": self.state.now(),
            "is_active": False,
            "contact_email": body.get("contact_email"),
            "display_name": body.get("display_name"),
            "dashboard": body.get("dashboard", "none"),
            "metadata": body.get("metadata", {}),
        }
        return self.put("account", account)
