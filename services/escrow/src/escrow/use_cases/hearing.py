"""A provider's webhook is kept once, and asks for one look at the object it speaks of."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import repository
from escrow.models import MANY_ATTEMPTS, JobKind, WebhookEvent
from escrow.rails import ObjectKind
from escrow.rails.webhooks import Notice
from shared import jobs, telemetry

STRIPE = "stripe"

log = telemetry.get_logger()


async def keep(
    session: AsyncSession,
    *,
    event_id: str,
    event_type: str,
    object_id: str,
    created: datetime,
    payload: dict[str, Any],
    look_at: tuple[ObjectKind, str] | None,
) -> bool:
    """Keep the event; a second delivery of it changes nothing, and says False."""
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
    return is_new


async def catch_up(session: AsyncSession, events: list[dict[str, Any]]) -> None:
    """Keep those of Stripe's own list that never reached us and ask for a look at an object."""
    for event in events:
        notice = Notice.model_validate(event)
        if notice.look_at is None:
            continue
        is_missed = await keep(
            session,
            event_id=notice.id,
            event_type=notice.type,
            object_id=notice.object_id,
            created=notice.created_at,
            payload=event,
            look_at=notice.look_at,
        )
        if is_missed:
            log.warning("webhook.missed", event_id=notice.id, type=notice.type)
