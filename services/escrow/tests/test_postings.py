"""Arithmetic of money: every movement sums to zero and no cent is lost or made."""

from collections.abc import Callable
from random import Random
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


def test_no_split_of_a_hundred_thousand_loses_or_makes_a_cent() -> None:
    chance = Random(8453)  # noqa: S311 - the same ones in every run
    for _ in range(100_000):
        amount, basis_points = chance.randint(100, 1_000_000), chance.randint(0, 5_000)
        shares = postings.split(amount, chance.randint(1, amount - 10), basis_points, amount)
        assert shares.to_buyer + shares.to_seller + shares.fee == amount


parts = st.lists(st.integers(min_value=50, max_value=MAX_CENTS // 20), min_size=2, max_size=20)


@given(parts, st.integers(0, 9_999))
def test_the_fees_of_milestones_are_the_stamped_fee_to_the_cent(
    amounts: list[int], basis_points: int
) -> None:
    fee = fee_cents(sum(amounts), basis_points)
    fees = postings.milestone_fees(amounts, fee)
    assert sum(fees) == fee
    for amount, part in zip(amounts, fees, strict=True):
        # Each is its own share, less or more than one cent off.
        assert abs(part * sum(amounts) - amount * fee) <= sum(amounts)
        assert 0 <= part <= amount


@given(parts, st.integers(0, 9_000), st.data())
def test_a_split_milestone_bears_no_more_than_its_fee_and_sums_to_its_amount(
    amounts: list[int], basis_points: int, data: st.DataObject
) -> None:
    fees = postings.milestone_fees(amounts, fee_cents(sum(amounts), basis_points))
    place = data.draw(st.integers(0, len(amounts) - 1))
    to_buyer = data.draw(st.integers(1, amounts[place] - 10))
    shares = postings.split(amounts[place], to_buyer, basis_points, fees[place])
    assert shares.to_buyer + shares.to_seller + shares.fee == amounts[place]
    assert 0 <= shares.fee <= fees[place]
    assert shares.to_seller > 0


def test_the_fee_is_rounded_once_over_all_milestones() -> None:
    assert postings.milestone_fees([100_020, 149_980, 200_000], 11_250) == [2_501, 3_749, 5_000]
    assert postings.milestone_fees([50, 50, 50], 1) == [0, 1, 0]


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
