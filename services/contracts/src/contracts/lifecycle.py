"""The states of a contract and what leads from one to another."""

from enum import StrEnum

from shared.lifecycle import Lifecycle


class ContractStatus(StrEnum):
    PENDING_SIGNATURE = "PENDING_SIGNATURE"
    EXECUTING = "EXECUTING"
    EXECUTED = "EXECUTED"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    VOID = "VOID"


class ContractAction(StrEnum):
    SIGN = "be signed"
    """The last signature; earlier ones move nothing."""
    DECLINE = "be declined"
    EXPIRE = "expire"
    EXECUTE = "be executed"
    FAIL = "fail"
    RETRY = "be retried"
    VOID = "be voided"


class VoidReason(StrEnum):
    """Why a contract is VOID."""

    UNSIGNED = "UNSIGNED"
    DECLINED = "DECLINED"
    STAFF = "STAFF"
    NOT_CREATED = "NOT_CREATED"


CONTRACT = Lifecycle(
    "The contract",
    initial=ContractStatus.PENDING_SIGNATURE,
    moves={
        (ContractStatus.PENDING_SIGNATURE, ContractAction.SIGN): ContractStatus.EXECUTING,
        (ContractStatus.PENDING_SIGNATURE, ContractAction.DECLINE): ContractStatus.VOID,
        (ContractStatus.PENDING_SIGNATURE, ContractAction.EXPIRE): ContractStatus.VOID,
        (ContractStatus.EXECUTING, ContractAction.EXECUTE): ContractStatus.EXECUTED,
        (ContractStatus.EXECUTING, ContractAction.FAIL): ContractStatus.EXECUTION_FAILED,
        (ContractStatus.EXECUTION_FAILED, ContractAction.RETRY): ContractStatus.EXECUTING,
        (ContractStatus.EXECUTION_FAILED, ContractAction.VOID): ContractStatus.VOID,
    },
)
