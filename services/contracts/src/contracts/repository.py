"""Every query and every lock of contracts."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.lifecycle import ContractStatus
from contracts.models import (
    Contract,
    ContractExecutionJob,
    ContractSignToken,
    ContractTemplate,
    Signature,
    User,
)
from shared import database, telemetry
from shared.audit import AuditLog
from shared.clock import clock
from shared.events.identity import UserUpdated
from shared.ids import new_id
from shared.jobs import Job


async def get(session: AsyncSession, contract_id: UUID) -> Contract | None:
    return await session.get(Contract, contract_id)


async def lock(session: AsyncSession, contract_id: UUID) -> Contract | None:
    """The contract as it is now; nobody else changes it until the transaction ends."""
    return await database.lock(session, Contract, contract_id)


async def add(session: AsyncSession, **columns: Any) -> Contract | None:
    """A new contract; None when its offer has one."""
    added = await session.scalars(
        insert(Contract)
        .values(version=1, **columns)
        .on_conflict_do_nothing(index_elements=[Contract.offer_id])
        .returning(Contract)
    )
    return added.one_or_none()


async def newest(
    session: AsyncSession,
    *,
    party: UUID | None,
    offer_id: UUID | None,
    status: ContractStatus | None,
    before: UUID | None,
    limit: int,
) -> Sequence[Contract]:
    """Contracts of a party (None: of everybody), newest first, from below the id `before`."""
    found = sa.select(Contract).order_by(Contract.id.desc()).limit(limit)
    if party is not None:
        found = found.where(sa.or_(Contract.seller_id == party, Contract.buyer_id == party))
    if offer_id is not None:
        found = found.where(Contract.offer_id == offer_id)
    if status is not None:
        found = found.where(Contract.status == status)
    if before is not None:
        found = found.where(Contract.id < before)
    return (await session.scalars(found)).all()


async def signatures(session: AsyncSession, contract_ids: Sequence[UUID]) -> Sequence[Signature]:
    """In the order they were given."""
    given = sa.select(Signature).where(Signature.contract_id.in_(contract_ids))
    return (await session.scalars(given.order_by(Signature.signed_at, Signature.id))).all()


def _about(contract_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(AuditLog.subject_type == "contract", AuditLog.subject_id == str(contract_id))


async def events(
    session: AsyncSession,
    contract_id: UUID,
    *,
    after: UUID | None = None,
    limit: int | None = None,
) -> Sequence[AuditLog]:
    """What the audit log says of a contract, oldest first, from behind the row `after`."""
    order = sa.tuple_(AuditLog.created_at, AuditLog.id)
    said = sa.select(AuditLog).where(_about(contract_id)).order_by(order).limit(limit)
    if after is not None:
        at = sa.select(AuditLog.created_at).where(AuditLog.id == after).scalar_subquery()
        said = said.where(order > sa.tuple_(at, after))
    return (await session.scalars(said)).all()


async def views_of_a_day(session: AsyncSession, contract_id: UUID, user_id: UUID) -> int:
    """How often the user has opened the document in the last 24 hours."""
    viewed = sa.select(sa.func.count()).where(
        _about(contract_id),
        AuditLog.action == "contract.viewed",
        AuditLog.user_id == user_id,
        AuditLog.created_at > clock() - sa.text("interval '1 day'"),
    )
    return await session.scalar(viewed) or 0


async def active_template(session: AsyncSession) -> ContractTemplate | None:
    active = sa.select(ContractTemplate).where(ContractTemplate.is_active)
    return (await session.scalars(active)).one_or_none()


async def terms(session: AsyncSession, version: str) -> dict[str, Any]:
    """The terms of a template, which is never deleted."""
    kept = sa.select(ContractTemplate).where(ContractTemplate.version == version)
    return (await session.scalars(kept)).one().terms


async def by_document(session: AsyncSession, hashes: Sequence[str]) -> Contract | None:
    """The contract that one of these hashes is the document of; a sealed one is preferred."""
    known = sa.select(Contract).where(
        sa.or_(Contract.sealed_sha256.in_(hashes), Contract.sha256.in_(hashes))
    )
    first = known.order_by(Contract.sealed_sha256.in_(hashes).desc()).limit(1)
    return (await session.scalars(first)).one_or_none()


async def creation(session: AsyncSession, contract_id: UUID) -> dict[str, Any] | None:
    """The frozen input of a contract that is still to be made."""
    asked = sa.select(Job.payload).where(
        Job.kind == "contract.create", Job.payload["contract_id"].astext == str(contract_id)
    )
    return (await session.scalars(asked)).one_or_none()


async def add_execution_job(session: AsyncSession, contract_id: UUID, max_attempts: int) -> bool:
    """Ask for the execution; False when it has been asked for before."""
    added = await session.execute(
        insert(ContractExecutionJob)
        .values(
            id=new_id(),
            contract_id=contract_id,
            headers=telemetry.carry(),
            max_attempts=max_attempts,
        )
        .on_conflict_do_nothing(index_elements=[ContractExecutionJob.contract_id])
        .returning(ContractExecutionJob.id)
    )
    return added.scalar_one_or_none() is not None


async def execution_job(session: AsyncSession, contract_id: UUID) -> ContractExecutionJob | None:
    job = sa.select(ContractExecutionJob).where(ContractExecutionJob.contract_id == contract_id)
    return (await session.scalars(job)).one_or_none()


async def lock_execution_job(session: AsyncSession, contract_id: UUID) -> ContractExecutionJob:
    """Lock the contract first."""
    job = sa.select(ContractExecutionJob).where(ContractExecutionJob.contract_id == contract_id)
    return (await session.scalars(job.with_for_update())).one()


async def replace_link(
    session: AsyncSession, contract_id: UUID, user_id: UUID, token_sha256: str, seconds: int
) -> ContractSignToken:
    """The user's one link to this contract; older ones end, and any that is long past goes."""
    older = sa.and_(
        ContractSignToken.contract_id == contract_id, ContractSignToken.user_id == user_id
    )
    past = ContractSignToken.expires_at < clock() - sa.text("interval '1 day'")
    await session.execute(sa.delete(ContractSignToken).where(sa.or_(older, past)))
    link = ContractSignToken(
        token_sha256=token_sha256,
        contract_id=contract_id,
        user_id=user_id,
        expires_at=clock() + sa.text(f"interval '{seconds:d} seconds'"),
    )
    session.add(link)
    await session.flush()
    await session.refresh(link)
    return link


_IS_USABLE = sa.and_(ContractSignToken.used_at.is_(None), ContractSignToken.expires_at > clock())


async def usable_link(session: AsyncSession, token_sha256: str) -> ContractSignToken | None:
    """Looking does not use it up."""
    usable = sa.select(ContractSignToken).where(
        ContractSignToken.token_sha256 == token_sha256, _IS_USABLE
    )
    return (await session.scalars(usable)).one_or_none()


async def use_link(session: AsyncSession, token_sha256: str) -> ContractSignToken | None:
    """Use the link up; of any number who try at once, one gets it."""
    used = await session.scalars(
        sa.update(ContractSignToken)
        .where(ContractSignToken.token_sha256 == token_sha256, _IS_USABLE)
        .values(used_at=clock())
        .returning(ContractSignToken)
    )
    return used.one_or_none()


async def user(session: AsyncSession, user_id: UUID) -> User | None:
    return await session.get(User, user_id)


async def keep_user(session: AsyncSession, event: UserUpdated) -> None:
    """Project a user; what is not newer is skipped."""
    columns = {
        "version": event.version,
        "kyc_tier": event.kyc_tier,
        "is_frozen": event.is_frozen,
        "wallet_address": event.wallet_address,
    }
    await session.execute(
        insert(User)
        .values(id=event.user_id, **columns)
        .on_conflict_do_update(
            index_elements=[User.id], set_=columns, where=User.version < event.version
        )
    )
