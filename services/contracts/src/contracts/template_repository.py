"""Every query and every lock of contract templates that staff need."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.documents.template import Terms
from contracts.models import ContractTemplate
from shared.clock import clock
from shared.ids import new_id

_NEWEST_FIRST = (ContractTemplate.created_at.desc(), ContractTemplate.id.desc())


async def add(session: AsyncSession, terms: Terms) -> ContractTemplate | None:
    """A new template, not active; None when its version is taken."""
    added = await session.scalars(
        insert(ContractTemplate)
        .values(
            id=new_id(),
            version=terms.version,
            name=terms.name,
            terms=terms.model_dump(mode="json"),
            is_active=False,
        )
        .on_conflict_do_nothing(index_elements=[ContractTemplate.version])
        .returning(ContractTemplate)
    )
    return added.one_or_none()


async def every(session: AsyncSession) -> Sequence[ContractTemplate]:
    """All templates, newest first."""
    return (await session.scalars(sa.select(ContractTemplate).order_by(*_NEWEST_FIRST))).all()


async def get(session: AsyncSession, version: str) -> ContractTemplate | None:
    kept = sa.select(ContractTemplate).where(ContractTemplate.version == version)
    return (await session.scalars(kept)).one_or_none()


async def lock_every(session: AsyncSession) -> Sequence[ContractTemplate]:
    """All of them as they are now: which one is active concerns them all."""
    locked = sa.select(ContractTemplate.id).order_by(ContractTemplate.id).with_for_update()
    await session.execute(locked)
    # A second statement sees what those committed who held the locks before.
    current = sa.select(ContractTemplate).execution_options(populate_existing=True)
    return (await session.scalars(current)).all()


async def set_active(session: AsyncSession, template: ContractTemplate, *, active: bool) -> None:
    await _update(session, template, is_active=active)


async def set_deprecated(session: AsyncSession, template: ContractTemplate) -> None:
    await _update(session, template, deprecated_at=clock())


async def _update(session: AsyncSession, template: ContractTemplate, **columns: object) -> None:
    await session.execute(
        sa.update(ContractTemplate)
        .where(ContractTemplate.id == template.id)
        .values(updated_at=clock(), **columns)
        .execution_options(synchronize_session=False)
    )
    await session.refresh(template)
