"""What parties and staff read."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.documents.template import read
from contracts.errors import DocumentNotMade, LinkNotUsable
from contracts.lifecycle import ContractStatus
from contracts.models import Contract, Signature
from contracts.use_cases.access import Reader, get_for, hash_of
from shared import audit
from shared.errors import TooManyRequests

VIEWS_PER_DAY = 100
"""By one person at one document, so that a certificate stays one that can be read."""


@dataclass(frozen=True)
class Shown:
    """A contract with what belongs to it."""

    contract: Contract
    signatures: Sequence[Signature]
    consent: str


@dataclass(frozen=True)
class Stored:
    """Where a document lies."""

    key: str
    version_id: str
    sha256: str
    signed_sha256: str
    """Of the document to sign, which the sealed one begins with."""
    file_name: str


async def show_contract(session: AsyncSession, contract: Contract) -> Shown:
    terms = read(await repository.terms(session, contract.template_version))
    return Shown(contract, await repository.signatures(session, [contract.id]), terms.consent)


async def show(session: AsyncSession, contract_id: UUID, reader: Reader) -> Shown:
    """One contract.

    Raises:
        ContractNotFound: the reader has no part in it.
    """
    return await show_contract(session, await get_for(session, contract_id, reader))


async def show_many(
    session: AsyncSession,
    reader: Reader,
    *,
    offer_id: UUID | None,
    status: ContractStatus | None,
    before: UUID | None,
    limit: int,
) -> list[Shown]:
    """The reader's contracts, newest first; staff see everybody's."""
    contracts = await repository.newest(
        session,
        party=None if reader.is_staff else reader.user_id,
        offer_id=offer_id,
        status=status,
        before=before,
        limit=limit,
    )
    signatures = await repository.signatures(session, [contract.id for contract in contracts])
    consents = {
        version: read(await repository.terms(session, version)).consent
        for version in {contract.template_version for contract in contracts}
    }
    return [
        Shown(
            contract,
            [signature for signature in signatures if signature.contract_id == contract.id],
            consents[contract.template_version],
        )
        for contract in contracts
    ]


async def show_by_link(session: AsyncSession, token: str) -> tuple[Shown, Stored]:
    """The contract a link was made for, and its document; the link stays usable.

    Raises:
        LinkNotUsable: it is unknown, used, replaced or too old.
        TooManyRequests: its user has looked often enough for a day.
    """
    link = await repository.usable_link(session, hash_of(token))
    if link is None:
        raise LinkNotUsable
    reader = Reader(link.user_id)
    shown = await show(session, link.contract_id, reader)
    return shown, await _opened(session, shown.contract, reader)


async def open_document(session: AsyncSession, contract_id: UUID, reader: Reader) -> Stored:
    """The current document: the sealed one once there is one. Every look is recorded.

    Raises:
        ContractNotFound: the reader has no part in it.
        DocumentNotMade: it was ended before it had one.
        TooManyRequests: the reader has looked often enough for a day.
    """
    return await _opened(session, await get_for(session, contract_id, reader), reader)


async def _opened(session: AsyncSession, contract: Contract, reader: Reader) -> Stored:
    if not (contract.document_key and contract.pdf_version_id and contract.sha256):
        raise DocumentNotMade(contract.id)
    if await repository.views_of_a_day(session, contract.id, reader.user_id) >= VIEWS_PER_DAY:
        raise TooManyRequests(
            f"Only {VIEWS_PER_DAY} looks a day are allowed: each is in the certificate.",
            retry_after_seconds=3600,
        )
    if contract.sealed_key and contract.sealed_version_id and contract.sealed_sha256:
        stored = Stored(
            contract.sealed_key,
            contract.sealed_version_id,
            contract.sealed_sha256,
            contract.sha256,
            f"contract-{contract.id}-sealed.pdf",
        )
    else:
        stored = Stored(
            contract.document_key,
            contract.pdf_version_id,
            contract.sha256,
            contract.sha256,
            f"contract-{contract.id}.pdf",
        )
    await audit.record(
        session,
        "contract.viewed",
        "contract",
        contract.id,
        actor_id=reader.user_id,
        document_sha256=stored.sha256,
    )
    return stored
