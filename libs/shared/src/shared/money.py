"""Money is a whole number of cents with a currency; nothing here rounds without saying how."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

MAX_CENTS = 10**12
STRIPE_LIMIT_CENTS = 1_000_000
"""Up to and including $10,000.00 a trade is paid by card in USD, above it in USDC."""

Cents = Annotated[int, Field(strict=True, ge=1, le=MAX_CENTS)]
"""An amount of money in cents: 1 to 10^12; never a float, never a numeric string."""
ZeroOrMoreCents = Annotated[int, Field(strict=True, ge=0, le=MAX_CENTS)]


class Currency(StrEnum):
    """1 USDC counts as 100 cents, as 1 USD does; the two never mix."""

    USD = "USD"
    USDC = "USDC"


class Rail(StrEnum):
    """How the money of a trade moves."""

    STRIPE = "STRIPE"
    USDC_BASE = "USDC_BASE"


def currency_for(amount: int) -> Currency:
    """The one currency in which an amount (cents) may be offered."""
    return Currency.USD if amount <= STRIPE_LIMIT_CENTS else Currency.USDC


def rail_for(amount: int) -> Rail:
    """The one rail on which an amount (cents) moves."""
    return Rail.STRIPE if amount <= STRIPE_LIMIT_CENTS else Rail.USDC_BASE


def fee_cents(amount: int, basis_points: int) -> int:
    """The platform's fee on an amount, in cents, rounded half up to a whole cent."""
    return (amount * basis_points + 5_000) // 10_000


def show(amount: int, currency: Currency) -> str:
    """For people: `$4,500.00`, `12,000.00 USDC`."""
    whole, cents = divmod(amount, 100)
    figure = f"{whole:,}.{cents:02d}"
    return f"${figure}" if currency is Currency.USD else f"{figure} {currency.value}"
