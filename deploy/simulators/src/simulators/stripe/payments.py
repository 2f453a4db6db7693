"""Payment intents and their charges, refunds and disputes."""

from typing import Any

from simulators.state import Record, make_id
from simulators.stripe import cards
from simulators.stripe.cards import Card, Outcome
from simulators.stripe.disputes import open_dispute
from simulators.stripe.wire import StripeRefused, merge_metadata
from simulators.stripe.world import (
    CARDS,
    FEES,
    PENDING_SECONDS,
    PLATFORM,
    StripeWorld,
    amount_of,
    currency_of,
)

LEAST_CENTS = 50
_FINAL = frozenset({"succeeded", "canceled"})


class Payments:
    def __init__(self, world: StripeWorld, base: str) -> None:
        self._world = world
        self._base = base

    def open(self, params: dict[str, Any]) -> Record:
        world = self._world
        types = params.get("allowed_payment_method_types")
        automatic = None if types else {"enabled": True, "allow_redirects": "always"}
        intent = world.new(
            "pi",
            "payment_intent",
            amount=amount_of(params, least=LEAST_CENTS),
            amount_capturable=0,
            amount_details={"tip": {}},
            amount_received=0,
            application=None,
            application_fee_amount=None,
            automatic_payment_methods=automatic,
            canceled_at=None,
            cancellation_reason=None,
            capture_method="automatic_async",
            client_secret=None,
            confirmation_method="automatic",
            currency=currency_of(params),
            customer=None,
            description=params.get("description"),
            last_payment_error=None,
            latest_charge=None,
            livemode=False,
            metadata=merge_metadata({}, params.get("metadata")),
            next_action=None,
            on_behalf_of=None,
            payment_method=None,
            payment_method_types=types or ["card"],
            processing=None,
            receipt_email=params.get("receipt_email"),
            review=None,
            setup_future_usage=None,
            shipping=None,
            source=None,
            statement_descriptor=None,
            statement_descriptor_suffix=params.get("statement_descriptor_suffix"),
            status="requires_payment_method",
            transfer_data=None,
            transfer_group=params.get("transfer_group"),
        )
        intent["client_secret"] = f"{intent['id']}_secret_{make_id('s')[2:]}"
        world.put(intent)
        world.tell("payment_intent.created", intent)
        return self.confirm(intent, params) if params.get("confirm") else intent

    def confirm(self, intent: Record, params: dict[str, Any]) -> Record:
        """Charge the card.

        Raises:
            StripeRefused: 402 when the card is declined; 400 when the intent is past paying.
        """
        if intent["status"] in _FINAL:
            raise StripeRefused(
                400,
                f"You cannot confirm this PaymentIntent because it has a status of "
                f"{intent['status']}.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
        card, method = _card(params)
        if card.outcome is Outcome.DECLINED:
            self._fail(intent, card)
        if card.outcome is Outcome.NEEDS_3DS:
            page = f"{self._base}/3ds/{intent['id']}"
            intent |= {
                "status": "requires_action",
                "payment_method": method,
                "next_action": {
                    "type": "redirect_to_url",
                    "redirect_to_url": {"url": page, "return_url": params.get("return_url")},
                },
            }
            self._world.put(intent)
            self._world.tell("payment_intent.requires_action", intent)
            return intent
        return self._pay(intent, card, method)

    def authenticate(self, intent: Record, *, is_successful: bool) -> Record:
        """What the buyer's bank says after `requires_action`."""
        if intent["status"] != "requires_action":
            raise StripeRefused(
                400,
                f"This PaymentIntent has a status of {intent['status']}.",
                code="payment_intent_unexpected_state",
            )
        if is_successful:
            return self._pay(
                intent, cards.by_payment_method("pm_card_visa"), intent["payment_method"]
            )
        self._note_failure(
            intent,
            {
                "type": "invalid_request_error",
                "code": "payment_intent_authentication_failure",
                "message": "The provided PaymentMethod has failed authentication.",
            },
        )
        return intent

    def cancel(self, intent: Record, reason: str | None) -> Record:
        if intent["status"] in _FINAL:
            raise StripeRefused(
                400,
                f"You cannot cancel this PaymentIntent because it has a status of "
                f"{intent['status']}.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
        intent |= {
            "status": "canceled",
            "canceled_at": self._world.now(),
            "cancellation_reason": reason,
            "next_action": None,
        }
        self._world.put(intent)
        self._world.tell("payment_intent.canceled", intent)
        return intent

    def _pay(self, intent: Record, card: Card, method: str) -> Record:
        charge = self._charge(intent, card, method, None)
        amount = intent["amount"]
        fee = (amount * 290 + 5_000) // 10_000 + 30
        now = self._world.now()
        charge["balance_transaction"] = self._world.move(
            "charge",
            charge,
            {PLATFORM: amount - fee, FEES: fee, CARDS: -amount},
            available_on=now if card.outcome is Outcome.AT_ONCE else now + PENDING_SECONDS,
            fee=fee,
        )
        intent |= {
            "status": "succeeded",
            "amount_received": amount,
            "last_payment_error": None,
            "latest_charge": charge["id"],
            "next_action": None,
            "payment_method": method,
        }
        self._world.put(charge)
        self._world.put(intent)
        self._world.tell("charge.succeeded", charge)
        self._world.tell("payment_intent.succeeded", intent)
        if card.outcome is Outcome.DISPUTED:
            open_dispute(self._world, charge["id"], "fraudulent")
        return intent

    def _fail(self, intent: Record, card: Card) -> None:
        charge = self._world.put(self._charge(intent, card, make_id("pm"), card))
        self._world.tell("charge.failed", charge)
        error = {"type": "card_error", "code": card.code, "message": card.message}
        reason = {"decline_code": card.decline_code} if card.decline_code else {}
        intent["latest_charge"] = charge["id"]
        self._note_failure(intent, error | reason | {"charge": charge["id"]})
        raise StripeRefused(
            402,
            card.message,
            kind="card_error",
            code=card.code,
            **reason,
            charge=charge["id"],
            payment_intent=intent,
        )

    def _note_failure(self, intent: Record, error: Record) -> None:
        intent |= {
            "status": "requires_payment_method",
            "last_payment_error": error,
            "next_action": None,
            "payment_method": None,
        }
        self._world.put(intent)
        self._world.tell("payment_intent.payment_failed", intent)

    def _charge(self, intent: Record, card: Card, method: str, refusal: Card | None) -> Record:
        amount = intent["amount"]
        address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
        return self._world.new(
            "ch",
            "charge",
            amount=amount,
            amount_captured=0 if refusal else amount,
            amount_refunded=0,
            application=None,
            application_fee=None,
            application_fee_amount=None,
            balance_transaction=None,
            billing_details={"address": address, "email": None, "name": None, "phone": None},
            calculated_statement_descriptor="BLOXTR8",
            captured=refusal is None,
            currency=intent["currency"],
            customer=None,
            description=intent["description"],
            disputed=False,
            failure_balance_transaction=None,
            failure_code=refusal.code if refusal else None,
            failure_message=refusal.message if refusal else None,
            fraud_details={},
            livemode=False,
            metadata=intent["metadata"],
            on_behalf_of=None,
            outcome={
                "network_status": "declined_by_network" if refusal else "approved_by_network",
                "reason": refusal.decline_code if refusal else None,
                "risk_level": "normal",
                "seller_message": "The bank declined it." if refusal else "Payment complete.",
                "type": "issuer_declined" if refusal else "authorized",
            },
            paid=refusal is None,
            payment_intent=intent["id"],
            payment_method=method,
            payment_method_details=card.details,
            radar_options={},
            receipt_email=intent["receipt_email"],
            receipt_number=None,
            receipt_url=None,
            refunded=False,
            review=None,
            shipping=None,
            source=None,
            source_transfer=None,
            statement_descriptor=None,
            statement_descriptor_suffix=None,
            status="failed" if refusal else "succeeded",
            transfer_data=None,
            transfer_group=intent["transfer_group"],
        )


def _card(params: dict[str, Any]) -> tuple[Card, str]:
    """The card to charge, and the payment method's id."""
    method = params.get("payment_method")
    if method:
        return cards.by_payment_method(method), method
    number = params.get("payment_method_data", {}).get("card", {}).get("number")
    if number:
        return cards.by_number(number), make_id("pm")
    raise StripeRefused(
        400,
        "You cannot confirm this PaymentIntent because it's missing a payment method.",
        code="payment_intent_unexpected_state",
        param="payment_method",
    )
