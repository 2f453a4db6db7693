"""Who did what to which object, written in the transaction that did it and never changed."""

import json
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared.database import Model, driver
from shared.ids import new_id


@dataclass(frozen=True)
class Origin:
    """Where a command came from: set by the web middleware, or by the worker for its own acts."""

    request_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    actor_id: UUID | None = None
    """The user; None when the system itself acts."""
    client: str | None = None
    """The frontend that acted for the user (`act` of the token)."""


origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - frozen


class AuditLog(Model):
    __tablename__ = "audit_logs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    action: Mapped[str]
    """Past tense with a dot, for example `offer.accepted`."""
    user_id: Mapped[UUID | None]
    client: Mapped[str | None]
    subject_type: Mapped[str]
    subject_id: Mapped[str]
    details: Mapped[dict[str, Any]]
    """Plain facts; for a state change `from` and `to`. No secrets, no documents."""
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]
    request_id: Mapped[str | None]
    created_at: Mapped[Any] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.text("clock()")
    )


_RECORD = """
INSERT INTO audit_logs (id, action, user_id, client, subject_type, subject_id, details,
    ip, user_agent, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""


async def record(
    session: AsyncSession,
    action: str,
    subject_type: str,
    subject_id: UUID | str,
    *,
    actor_id: UUID | None = None,
    **details: Any,
) -> None:
    """Add the audit row of one changed object to the caller's transaction.

    Args:
        session: the transaction that changes the object.
        action: what happened, past tense with a dot.
        subject_type: the kind of object, singular.
        subject_id: its id.
        actor_id: who acted, where the token does not say it (a magic link); else from the request.
        details: JSON values; for a state change `from_` and `to`.
    """
    source = origin.get()
    await (await driver(session)).execute(
        _RECORD,
        new_id(),
        action,
        actor_id or source.actor_id,
        source.client,
        subject_type,
        str(subject_id),
        json.dumps({key.rstrip("_"): value for key, value in details.items()}),
        source.ip,
        source.user_agent,
        source.request_id,
    )
