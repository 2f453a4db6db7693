"""Who is owed what: every movement of money as entries that sum to zero.

An amount is signed: positive is a credit (we owe more, or own less), negative a debit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from shared.money import fee_cents


class Account(StrEnum):
    """The chart of accounts; the README says what each one means."""

    STRIPE_BALANCE = "stripe:balance"
    ESCROW_HELD = "escrow:held"
    SUSPENSE = "platform:suspense"
    FEES = "platform:fees"
    PROVIDER_FEES = "platform:provider_fees"
    CHARGEBACK_LOSS = "platform:chargeback_loss"


class Cause(StrEnum):
    """Why money moved."""

    FUNDED = "funded"
    RELEASED = "released"
    REFUNDED = "refunded"
    PROVIDER_FEE = "provider_fee"
    MISFIT = "misfit"
    """A payment that is not what was agreed."""
    LATE = "late"
    """A payment for which nothing was open any more."""
    RETURNED = "returned"
    """Money from suspense has gone back."""
    ATTRIBUTED = "attributed"
    """Staff have found what money in suspense was for."""
    CHARGED_BACK = "charged_back"
    """The bank has taken money that was held, or lay in suspense."""
    CHARGEBACK_LOSS = "chargeback_loss"
    """The bank has taken money that had been paid out, or that fits nothing."""
    REVERSED = "reversed"
    """The seller has given such money back."""


@dataclass(frozen=True)
class Entry:
    account: Account
    amount: int
    """Cents of the transaction's currency, not zero."""


def funded(amount: int) -> tuple[Entry, ...]:
    return _move(amount, Account.STRIPE_BALANCE, Account.ESCROW_HELD)


def released(amount: int, fee: int) -> tuple[Entry, ...]:
    """The held amount leaves: the payout to the seller, the fee to the platform."""
    _whole(fee)
    paid = (Entry(Account.STRIPE_BALANCE, payout(amount, fee)),)
    kept = (Entry(Account.FEES, fee),) if fee else ()
    return (Entry(Account.ESCROW_HELD, -amount), *paid, *kept)


def payout(amount: int, fee: int) -> int:
    """What the seller gets, in cents.

    Raises:
        ValueError: the fee leaves nothing, or one of them is no whole number of cents.
    """
    _whole(amount, fee)
    if not 0 <= fee < amount:
        raise ValueError("The fee must be at least 0 and less than the amount.")
    return amount - fee


@dataclass(frozen=True)
class Shares:
    """Cents of a held amount: back to the buyer, to the seller, kept; their sum is the whole."""

    to_buyer: int
    to_seller: int
    fee: int


def milestone_fees(amounts: Sequence[int], fee: int) -> list[int]:
    """Divide the stamped fee among the milestones: not a cent more or less in total.

    Up to and including a milestone the fees are the stamped fee's share of the amounts so far,
    rounded half up; what that adds is the milestone's own.
    """
    whole = sum(amounts)
    _whole(fee, *amounts)
    so_far = [(2 * fee * part + whole) // (2 * whole) for part in accumulate(amounts)]
    return [after - before for before, after in pairwise([0, *so_far])]


def split(amount: int, to_buyer: int, fee_basis_points: int, most: int) -> Shares:
    """Divide a held amount; the agreed rate is taken from the seller's part only, and never more
    than `most`, the fee on the whole of it.

    Raises:
        ValueError: a side would get nothing, or one of them is no whole number of cents.
    """
    _whole(amount, to_buyer, fee_basis_points, most)
    if not 0 < to_buyer < amount:
        raise ValueError("Both sides of a split get something.")
    fee = min(fee_cents(amount - to_buyer, fee_basis_points), most)
    return Shares(to_buyer, payout(amount - to_buyer, fee), fee)


def refunded(amount: int) -> tuple[Entry, ...]:
    return _move(amount, Account.ESCROW_HELD, Account.STRIPE_BALANCE)


def charged_back(amount: int) -> tuple[Entry, ...]:
    """Held money is with the buyer again, by the bank's word."""
    return _move(amount, Account.ESCROW_HELD, Account.STRIPE_BALANCE)


def chargeback_loss(amount: int) -> tuple[Entry, ...]:
    """Money that was paid out, or that fits nothing, is taken; the platform bears it."""
    return _move(amount, Account.CHARGEBACK_LOSS, Account.STRIPE_BALANCE)


def reversed_(amount: int) -> tuple[Entry, ...]:
    """A payout has come back from the seller, and lessens the loss."""
    return _move(amount, Account.STRIPE_BALANCE, Account.CHARGEBACK_LOSS)


def set_aside(amount: int) -> tuple[Entry, ...]:
    """Money that fits nothing waits in suspense."""
    return _move(amount, Account.STRIPE_BALANCE, Account.SUSPENSE)


def attributed(amount: int) -> tuple[Entry, ...]:
    """Money in suspense was the agreed payment after all."""
    return _move(amount, Account.SUSPENSE, Account.ESCROW_HELD)


def returned(amount: int) -> tuple[Entry, ...]:
    """Money in suspense goes back to where it came from, by us or by the bank."""
    return _move(amount, Account.SUSPENSE, Account.STRIPE_BALANCE)


def provider_fee(amount: int) -> tuple[Entry, ...]:
    """What the provider keeps of a payment; the platform bears it."""
    return _move(amount, Account.PROVIDER_FEES, Account.STRIPE_BALANCE)


def _move(amount: int, debit: Account, credit: Account) -> tuple[Entry, ...]:
    _whole(amount)
    if amount <= 0:
        raise ValueError("Money moves in amounts above zero.")
    return (Entry(debit, -amount), Entry(credit, amount))


def _whole(*amounts: int) -> None:
    if any(type(amount) is not int for amount in amounts):
        raise ValueError("Money is a whole number of cents.")
