"""Money: whole cents, one currency and one rail per amount, fees that add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.money import (
    MAX_CENTS,
    Cents,
    Currency,
    Rail,
    currency_for,
    fee_cents,
    rail_for,
    show,
)

CENTS = TypeAdapter(Cents)


@pytest.mark.parametrize("amount", [1, 50, 450_000, MAX_CENTS])
def test_whole_cents_are_money(amount: int) -> None:
    assert CENTS.validate_json(str(amount)) == amount


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "-0", "10000000000000", str(2**63), "9" * 38),
        *("1.0", "1.5", "1e3", "NaN", "Infinity"),
        *('"5"', '"1.005"', '"\u0665"', "true", "null", "[]"),
    ],
)
def test_anything_else_is_not(text: str) -> None:
    with pytest.raises(ValidationError):
        CENTS.validate_json(text)


@pytest.mark.parametrize(
    ("amount", "currency", "rail"),
    [
        (1_000_000, Currency.USD, Rail.STRIPE),
        (1_000_001, Currency.USDC, Rail.USDC_BASE),
    ],
)
def test_ten_thousand_dollars_is_the_last_amount_by_card(
    amount: int, currency: Currency, rail: Rail
) -> None:
    assert currency_for(amount) is currency
    assert rail_for(amount) is rail


def test_a_fee_is_rounded_half_up_to_a_whole_cent() -> None:
    assert fee_cents(450_000, 250) == 11_250
    assert fee_cents(50, 250) == 1  # 1.25
    assert fee_cents(60, 250) == 2  # 1.5
    assert fee_cents(450_000, 0) == 0


@given(st.integers(1, MAX_CENTS), st.integers(0, 10_000))
def test_a_fee_is_never_more_than_half_a_cent_off_nor_above_the_amount(
    amount: int, basis_points: int
) -> None:
    fee = fee_cents(amount, basis_points)
    assert abs(fee * 10_000 - amount * basis_points) <= 5_000
    assert 0 <= fee <= amount


def test_people_read_amounts_with_their_currency() -> None:
    assert show(450_000, Currency.USD) == "$4,500.00"
    assert show(1_200_005, Currency.USDC) == "12,000.05 USDC"
