"""Every state with every action, and what the README shows of it."""

from pathlib import Path

import pytest

from escrow.lifecycle import (
    ESCROW,
    EVIDENCE,
    INTENT,
    MAY_ASK,
    MILESTONE,
    PAYMENT_RANK,
    EscrowAction,
    EscrowStatus,
    IntentState,
    Role,
    is_newer,
)
from escrow.postings import Account
from shared.lifecycle import IllegalMove

README = Path(__file__).parents[1] / "README.md"
LEGAL = {
    ("AWAIT_FUNDS", "plan", "AWAIT_FUNDS"),
    ("AWAIT_FUNDS", "fund", "FUNDS_HELD"),
    ("AWAIT_FUNDS", "cancel", "CANCELLED"),
    ("FUNDS_HELD", "deliver", "DELIVERED"),
    ("FUNDS_HELD", "refund", "REFUNDED"),
    ("FUNDS_HELD", "reclaim", "REFUNDED"),
    ("FUNDS_HELD", "dispute", "DISPUTED"),
    ("DELIVERED", "release", "RELEASED"),
    ("DELIVERED", "refund_unpaid", "REFUNDED"),
    ("DELIVERED", "dispute", "DISPUTED"),
    ("DELIVERED", "reject", "DISPUTED"),
    ("DISPUTED", "award_seller", "RELEASED"),
    ("DISPUTED", "award_buyer", "REFUNDED"),
    ("DISPUTED", "withdraw_undelivered", "FUNDS_HELD"),
    ("DISPUTED", "withdraw_delivered", "DELIVERED"),
    ("FUNDS_HELD", "charge_back", "REFUNDED"),
    ("DELIVERED", "charge_back", "REFUNDED"),
    ("DISPUTED", "charge_back", "REFUNDED"),
    ("FUNDS_HELD", "finish", "RELEASED"),
}
OF_THE_WHOLE_ALONE = {"plan", "finish"}


@pytest.mark.parametrize("state", EscrowStatus)
@pytest.mark.parametrize("action", EscrowAction)
def test_an_escrow_makes_only_the_legal_moves(state: EscrowStatus, action: EscrowAction) -> None:
    legal = {(a, b): c for a, b, c in LEGAL}
    if (state.value, action.value) in legal:
        assert ESCROW.after(state, action).value == legal[state.value, action.value]
        return
    with pytest.raises(IllegalMove) as refusal:
        ESCROW.after(state, action)
    assert refusal.value.extra == {"state": state.value}


@pytest.mark.parametrize("state", EscrowStatus)
@pytest.mark.parametrize("action", EscrowAction)
def test_a_milestone_makes_the_moves_of_a_small_escrow(
    state: EscrowStatus, action: EscrowAction
) -> None:
    legal = {(a, b): c for a, b, c in LEGAL if b not in OF_THE_WHOLE_ALONE}
    if (state.value, action.value) in legal:
        assert MILESTONE.after(state, action).value == legal[state.value, action.value]
        return
    with pytest.raises(IllegalMove, match=r"^The milestone is ") as refusal:
        MILESTONE.after(state, action)
    assert refusal.value.extra == {"state": state.value}


def test_money_that_has_left_ends_an_escrow() -> None:
    ends = {EscrowStatus.RELEASED, EscrowStatus.REFUNDED, EscrowStatus.CANCELLED}
    assert ESCROW.terminal() == MILESTONE.terminal() == ends


def test_each_side_may_ask_only_for_what_costs_itself() -> None:
    assert {
        EscrowAction.PLAN: {Role.BUYER, Role.SELLER},
        EscrowAction.FUND: {Role.BUYER},
        EscrowAction.CANCEL: {Role.BUYER},
        EscrowAction.DELIVER: {Role.SELLER},
        EscrowAction.RELEASE: {Role.BUYER},
        EscrowAction.REFUND: {Role.SELLER, Role.STAFF},
        EscrowAction.REFUND_UNPAID: {Role.STAFF},
        EscrowAction.RECLAIM: {Role.BUYER},
        EscrowAction.DISPUTE: {Role.BUYER, Role.SELLER},
        EscrowAction.REJECT: {Role.BUYER},
        EscrowAction.AWARD_SELLER: {Role.STAFF},
        EscrowAction.AWARD_BUYER: {Role.STAFF},
        EscrowAction.WITHDRAW_UNDELIVERED: {Role.BUYER, Role.SELLER},
        EscrowAction.WITHDRAW_DELIVERED: {Role.BUYER, Role.SELLER},
        EscrowAction.CHARGE_BACK: set(),
        EscrowAction.FINISH: set(),
    } == MAY_ASK


def test_a_settled_or_failed_intent_is_never_asked_for_again() -> None:
    assert INTENT.terminal() == {IntentState.SETTLED, IntentState.FAILED}
    assert {state for state in IntentState if state.is_over} == {
        IntentState.SETTLED,
        IntentState.FAILED,
        IntentState.NOT_EXECUTED,
    }


def test_a_file_that_was_refused_or_has_expired_is_never_ready() -> None:
    legal = {
        ("PENDING", "complete", "CHECKING"),
        ("CHECKING", "accept", "READY"),
        ("CHECKING", "refuse", "REFUSED"),
        ("PENDING", "expire", "EXPIRED"),
        ("READY", "expire", "EXPIRED"),
        ("REFUSED", "expire", "EXPIRED"),
    }
    made = {(a.value, b.value, c.value) for (a, b), c in EVIDENCE.moves.items()}
    assert made == legal


def test_a_payment_is_only_ever_seen_moving_up() -> None:
    ranked = sorted(PAYMENT_RANK, key=PAYMENT_RANK.__getitem__)
    for place, known in enumerate(ranked):
        newer = {seen for seen in PAYMENT_RANK if is_newer(seen, known)}
        assert newer == set(ranked[place + 1 :])
    assert is_newer("requires_payment_method", None)
    assert not is_newer("a status of the future", None)


def test_the_readme_shows_what_the_code_does() -> None:
    said = README.read_text()
    for lifecycle in (ESCROW, MILESTONE):
        assert f"```mermaid\n{lifecycle.mermaid()}\n```" in said
    assert all(f"`{account.value}`" in said for account in Account)
