"""A contract that everybody has signed is executed exactly once: sealed, stored, told to escrow."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.documents.inputs import Certificate, Signed
from contracts.documents.template import read
from contracts.lifecycle import CONTRACT, ContractAction, ContractStatus
from contracts.models import Contract
from contracts.use_cases.access import Reader, lock_for
from contracts.use_cases.announce import about, move
from contracts.use_cases.history import happened
from shared import clock, jobs, outbox, telemetry
from shared.events.contracts import ContractExecuted, ContractExecutionFailed, SealedDocument

ATTEMPTS = 3


@dataclass(frozen=True)
class Execution:
    """What the execution needs, read once."""

    contract_id: UUID
    document_key: str
    document_version_id: str
    certificate: Certificate

    @property
    def sealed_key(self) -> str:
        """Without a hash in it: sealing twice gives different bytes, and one must win."""
        return f"contracts/{self.contract_id}/sealed.pdf"


async def begin_execution(session: AsyncSession, contract_id: UUID) -> None:
    """Ask for the execution, once however often it is heard that everybody has signed."""
    contract = await repository.lock(session, contract_id)
    if contract is None or contract.status is not ContractStatus.EXECUTING:
        return
    if await repository.add_execution_job(session, contract_id, ATTEMPTS):
        session.info[outbox.WAKE] = True


async def gather(session: AsyncSession, contract_id: UUID) -> Execution | None:
    """What is to be executed; None when the contract is not waiting for it any more."""
    contract = await repository.get(session, contract_id)
    assert contract is not None
    if contract.status is not ContractStatus.EXECUTING:
        return None
    assert contract.sha256 is not None
    assert contract.document_key is not None
    assert contract.pdf_version_id is not None
    terms = read(await repository.terms(session, contract.template_version))
    return Execution(
        contract_id=contract.id,
        document_key=contract.document_key,
        document_version_id=contract.pdf_version_id,
        certificate=Certificate(
            contract_id=contract.id,
            document_sha256=contract.sha256,
            template_version=contract.template_version,
            consent=terms.consent,
            signatures=await _signed(session, contract),
            events=[happened(row) for row in await repository.events(session, contract.id)],
        ),
    )


async def _signed(session: AsyncSession, contract: Contract) -> list[Signed]:
    deal = contract.agreed
    cards = {
        deal.seller.user_id: ("Seller", deal.seller),
        deal.buyer.user_id: ("Buyer", deal.buyer),
    }
    signatures = await repository.signatures(session, [contract.id])
    assert {signature.user_id for signature in signatures} == contract.parties
    assert {signature.document_sha256 for signature in signatures} == {contract.sha256}
    return [
        Signed(
            role=cards[row.user_id][0],
            name=cards[row.user_id][1].name,
            user_id=row.user_id,
            method=row.signature_method,
            signed_at=row.signed_at,
            ip=row.ip_address,
            user_agent=row.user_agent,
            document_sha256=row.document_sha256,
            consent_version=row.consent_version,
            wallet_address=row.wallet_address,
            wallet_signature=row.wallet_signature,
        )
        for row in signatures
    ]


async def execute(session: AsyncSession, contract_id: UUID, sealed: SealedDocument) -> None:
    """The sealed document is stored: the contract is in force."""
    contract = await repository.lock(session, contract_id)
    assert contract is not None
    if not CONTRACT.allows(contract.status, ContractAction.EXECUTE):
        return
    executed_at = await clock.now(session)
    await move(
        session,
        contract,
        ContractAction.EXECUTE,
        "contract.executed",
        sealed_sha256=sealed.sha256,
    )
    contract.sealed_key = sealed.key
    contract.sealed_version_id = sealed.version_id
    contract.sealed_sha256 = sealed.sha256
    contract.executed_at = executed_at
    contract.failure = None
    assert contract.sha256 is not None
    await outbox.record(
        session,
        ContractExecuted(
            **about(contract),
            deal=contract.agreed,
            document_sha256=contract.sha256,
            sealed=sealed,
            executed_at=executed_at,
        ),
    )


async def fail(session: AsyncSession, contract_id: UUID, error: str) -> None:
    """All attempts are used up; people decide."""
    contract = await repository.lock(session, contract_id)
    assert contract is not None
    if not CONTRACT.allows(contract.status, ContractAction.FAIL):
        return
    await move(session, contract, ContractAction.FAIL, "contract.execution_failed")
    contract.failure = error
    await outbox.record(
        session, ContractExecutionFailed(**about(contract), reason=error.partition(":")[0])
    )


async def retry(session: AsyncSession, contract_id: UUID, reader: Reader) -> Contract:
    """Execute again what has failed, with all attempts anew.

    Raises:
        ContractNotFound: the caller has no part in it.
        IllegalMove: its execution has not failed.
    """
    contract = await lock_for(session, contract_id, reader)
    await move(session, contract, ContractAction.RETRY, "contract.retried")
    job = await repository.lock_execution_job(session, contract_id)
    telemetry.bind_trade(contract.root_offer_id)
    job.headers = telemetry.carry()
    jobs.requeue(session, job)
    return contract
