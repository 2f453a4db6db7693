"""Contracts that come to nothing: declined, never signed, or given up by staff."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.documents.inputs import Draft
from contracts.errors import LinkNotUsable
from contracts.lifecycle import CONTRACT, ContractAction, ContractStatus, VoidReason
from contracts.models import Contract
from contracts.use_cases.access import Reader, hash_of, lock_for
from contracts.use_cases.announce import about, end
from contracts.use_cases.create import give_up
from shared import outbox
from shared.events.contracts import ContractSignatureDue


async def decline(
    session: AsyncSession, contract_id: UUID, party_id: UUID, note: str | None
) -> Contract:
    """A party does not want it.

    Raises:
        ContractNotFound: the caller is no party to it.
        IllegalMove: everybody has signed, or it has ended.
    """
    contract = await lock_for(session, contract_id, Reader(party_id))
    await end(
        session,
        contract,
        ContractAction.DECLINE,
        VoidReason.DECLINED,
        actor_id=party_id,
        note=note,
    )
    return contract


async def decline_by_link(session: AsyncSession, token: str, note: str | None) -> Contract:
    """As `decline`, as the user that the link was made for; it is then used up.

    Raises:
        LinkNotUsable: it is unknown, used, replaced or too old.
    """
    link = await repository.use_link(session, hash_of(token))
    if link is None:
        raise LinkNotUsable
    return await decline(session, link.contract_id, link.user_id, note)


async def void(
    session: AsyncSession, contract_id: UUID, staff: Reader, note: str | None
) -> Contract:
    """Staff give up a contract whose execution has failed.

    Raises:
        ContractNotFound: there is no such contract.
        IllegalMove: its execution has not failed.
    """
    contract = await lock_for(session, contract_id, staff)
    await end(session, contract, ContractAction.VOID, VoidReason.STAFF, note=note)
    return contract


async def expire(session: AsyncSession, contract_id: UUID) -> None:
    """The time to sign is over; does nothing to a contract that has moved on."""
    contract = await repository.lock(session, contract_id)
    if contract is None:
        frozen = await repository.creation(session, contract_id)
        assert frozen is not None
        if await give_up(session, Draft.model_validate(frozen)):
            return
        contract = await repository.lock(session, contract_id)
    assert contract is not None
    if CONTRACT.allows(contract.status, ContractAction.EXPIRE):
        await end(session, contract, ContractAction.EXPIRE, VoidReason.UNSIGNED)


async def remind(session: AsyncSession, contract_id: UUID) -> None:
    """Say who has not signed yet."""
    contract = await repository.lock(session, contract_id)
    if contract is None or contract.status is not ContractStatus.PENDING_SIGNATURE:
        return
    given = await repository.signatures(session, [contract.id])
    missing = contract.parties - {signature.user_id for signature in given}
    await outbox.record(
        session,
        ContractSignatureDue(
            **about(contract), missing_user_ids=sorted(missing), sign_by=contract.sign_by
        ),
    )
