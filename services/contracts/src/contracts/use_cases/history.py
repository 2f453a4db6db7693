"""The course of a contract, as its audit log tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.documents.inputs import Happened
from contracts.models import ContractExecutionJob
from contracts.use_cases.access import Reader, get_for
from shared.audit import AuditLog


@dataclass(frozen=True)
class History:
    events: Sequence[tuple[UUID, Happened]]
    """With the ids of their audit rows, oldest first."""
    job: ContractExecutionJob | None
    """For staff only, and from the last signature on."""


def happened(row: AuditLog) -> Happened:
    """An audit row, as people read it."""
    return Happened(
        at=row.created_at,
        what=row.action,
        user_id=row.user_id,
        ip=row.ip,
        user_agent=row.user_agent,
        method=row.details.get("method"),
        document_sha256=row.details.get("document_sha256"),
    )


async def show_history(
    session: AsyncSession, contract_id: UUID, reader: Reader, *, after: UUID | None, limit: int
) -> History:
    """What has happened, oldest first, from behind the event `after`.

    Raises:
        ContractNotFound: the reader has no part in it.
    """
    contract = await get_for(session, contract_id, reader)
    rows = await repository.events(session, contract.id, after=after, limit=limit)
    job = await repository.execution_job(session, contract.id) if reader.is_staff else None
    return History([(row.id, happened(row)) for row in rows], job)
