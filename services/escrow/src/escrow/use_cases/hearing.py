"""A provider's webhook is kept once, and asks for one look at the object it speaks of."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import repository
from escrow.models import MANY_ATTEMPTS, JobKind, WebhookEvent
from escrow.rails import ObjectKind
from shared import jobs

STRIPE = "stripe"


async def keep(
    session: AsyncSession,
    *,
    event_id: str,
    event_type: str,
    object_id: str,
    created: datetime,
    payload: dict[str, Any],
    look_at: tuple[ObjectKind, str] | None,
) -> None:
    """Keep the event; a second delivery of it changes nothing."""
    is_new = await repository.keep_webhook(
        session,
        WebhookEvent(
            provider=STRIPE,
            event_id=event_id,
            type=event_type,
            object_id=object_id,
            created=created,
            payload=payload,
        ),
    )
    if is_new and look_at is not None:
        kind, wanted_id = look_at
        await jobs.enqueue(
            session,
            JobKind.LOOK,
            f"webhook:{event_id}",
            {"kind": kind.value, "object_id": wanted_id},
            max_attempts=MANY_ATTEMPTS,
        )
