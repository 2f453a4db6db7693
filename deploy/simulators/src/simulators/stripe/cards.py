"""Stripe's test cards: what becomes of a payment with each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from simulators.stripe.wire import StripeRefused


class Outcome(StrEnum):
    PAID = "paid"
    DECLINED = "declined"
    NEEDS_3DS = "needs_3ds"
    DISPUTED = "disputed"
    """Paid, then disputed as fraudulent."""
    AT_ONCE = "at_once"
    """Paid, and available without the usual wait."""


@dataclass(frozen=True)
class Card:
    number: str
    outcome: Outcome = Outcome.PAID
    code: str = "card_declined"
    decline_code: str | None = "generic_decline"
    message: str = "Your card was declined."
    brand: str = "visa"

    @property
    def details(self) -> dict[str, Any]:
        """What a charge says of the card."""
        card = {
            "amount_authorized": None,
            "authorization_code": None,
            "brand": self.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": "pass",
            },
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": f"sim{self.number[-4:]}",
            "funding": "credit",
            "installments": None,
            "last4": self.number[-4:],
            "mandate": None,
            "network": self.brand,
            "network_token": {"used": False},
            "network_transaction_id": f"10{self.number[-4:]}",
            "regulated_status": "unregulated",
            "three_d_secure": None,
            "wallet": None,
        }
        return {"type": "card", "card": card}


_CARDS = {
    "pm_card_visa": Card("4242424242424242"),
    "pm_card_mastercard": Card("5555555555554444", brand="mastercard"),
    "pm_card_chargeDeclined": Card("4000000000000002", Outcome.DECLINED),
    "pm_card_chargeDeclinedInsufficientFunds": Card(
        "4000000000009995",
        Outcome.DECLINED,
        decline_code="insufficient_funds",
        message="Your card has insufficient funds.",
    ),
    "pm_card_chargeDeclinedExpiredCard": Card(
        "4000000000000069",
        Outcome.DECLINED,
        code="expired_card",
        decline_code=None,
        message="Your card has expired.",
    ),
    "pm_card_authenticationRequired": Card("4000002760003184", Outcome.NEEDS_3DS),
    "pm_card_createDispute": Card("4000000000000259", Outcome.DISPUTED),
    "pm_card_bypassPending": Card("4000000000000077", Outcome.AT_ONCE),
}
_OTHER_NAMES = {
    "pm_card_visa_chargeDeclined": "pm_card_chargeDeclined",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_threeDSecure2Required": "pm_card_authenticationRequired",
}
_BY_NUMBER = {card.number: card for card in _CARDS.values()}


def by_payment_method(name: str) -> Card:
    card = _CARDS.get(_OTHER_NAMES.get(name, name))
    if card is None:
        raise StripeRefused(
            400, f"No such PaymentMethod: '{name}'", code="resource_missing", param="payment_method"
        )
    return card


def by_number(number: str) -> Card:
    card = _BY_NUMBER.get(number.replace(" ", ""))
    if card is None:
        raise StripeRefused(
            402,
            "Your card number is incorrect.",
            kind="card_error",
            code="incorrect_number",
            param="payment_method_data[card][number]",
        )
    return card
