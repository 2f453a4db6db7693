"""Arithmetic of money: every movement sums to zero and no cent is lost or made."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from escrow import postings
from escrow.postings import Account, Entry
from shared.events.cards import Deal
from shared.money import MAX_CENTS, fee_cents

cents = st.integers(min_value=1, max_value=MAX_CENTS)
ONE_AMOUNT = (
    postings.funded,
    postings.refunded,
    postings.set_aside,
    postings.returned,
    postings.attributed,
    postings.reversed_,
    postings.provider_fee,
)


@given(cents)
def test_every_simple_movement_sums_to_zero(amount: int) -> None:
    for movement in ONE_AMOUNT:
        entries = movement(amount)
        assert sum(entry.amount for entry in entries) == 0
        assert sorted(entry.amount for entry in entries) == [-amount, amount]


@given(st.integers(min_value=50, max_value=MAX_CENTS), st.integers(0, 9_999))
def test_payout_and_fee_are_the_whole_amount(amount: int, basis_points: int) -> None:
    fee = fee_cents(amount, basis_points)
    if fee >= amount:
        with pytest.raises(ValueError, match="less than the amount"):
            postings.payout(amount, fee)
        return
    entries = postings.released(amount, fee)
    assert sum(entry.amount for entry in entries) == 0
    by_account = {entry.account: entry.amount for entry in entries}
    assert by_account[Account.ESCROW_HELD] == -amount
    assert by_account[Account.STRIPE_BALANCE] + by_account.get(Account.FEES, 0) == amount
    assert all(entry.amount for entry in entries)


def test_four_thousand_five_hundred_dollars_to_the_cent() -> None:
    assert fee_cents(450_000, 250) == 11_250
    assert postings.payout(450_000, 11_250) == 438_750
    assert postings.released(450_000, 11_250) == (
        Entry(Account.ESCROW_HELD, -450_000),
        Entry(Account.STRIPE_BALANCE, 438_750),
        Entry(Account.FEES, 11_250),
    )


@pytest.mark.parametrize("movement", ONE_AMOUNT)
@pytest.mark.parametrize("amount", [0, -1, 1.0, 4500.5, "450000", True, None])
def test_what_is_no_amount_above_zero_moves_nothing(
    movement: Callable[[Any], tuple[Entry, ...]], amount: Any
) -> None:
    with pytest.raises(ValueError, match="Money"):
        movement(amount)


@given(
    st.one_of(
        st.floats(),
        st.text(),
        st.decimals(),
        st.booleans(),
        st.none(),
        st.integers(max_value=0),
        st.integers(min_value=MAX_CENTS + 1),
        cents.map(str),
        cents.map(float),
    )
)
def test_an_event_with_anything_but_whole_cents_is_unreadable(amount: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        Deal.model_validate({"amount": amount})
    assert ("amount",) in [error["loc"] for error in refusal.value.errors()]
