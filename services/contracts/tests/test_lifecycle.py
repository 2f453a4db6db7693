"""Every pair of state and action is decided by the table."""

from contracts.lifecycle import CONTRACT, ContractAction, ContractStatus

S, A = ContractStatus, ContractAction


def test_exactly_these_moves_are_legal() -> None:
    legal = {
        (state, action): CONTRACT.after(state, action)
        for state in S
        for action in A
        if CONTRACT.allows(state, action)
    }
    assert legal == {
        (S.PENDING_SIGNATURE, A.SIGN): S.EXECUTING,
        (S.PENDING_SIGNATURE, A.DECLINE): S.VOID,
        (S.PENDING_SIGNATURE, A.EXPIRE): S.VOID,
        (S.EXECUTING, A.EXECUTE): S.EXECUTED,
        (S.EXECUTING, A.FAIL): S.EXECUTION_FAILED,
        (S.EXECUTION_FAILED, A.RETRY): S.EXECUTING,
        (S.EXECUTION_FAILED, A.VOID): S.VOID,
    }


def test_nothing_leaves_a_contract_that_is_executed_or_void() -> None:
    assert CONTRACT.terminal() == {S.EXECUTED, S.VOID}
