"""What piles up is removed in small steps: published events, old answers, limits, partitions."""

import asyncio

import sqlalchemy as sa
from prometheus_client import Gauge

from shared import answers, inbox, limits, outages, telemetry
from shared.database import Sessions

EVERY_SECONDS = 600
ROWS_PER_STEP = 5000

log = telemetry.get_logger()
outbox_pending = Gauge("outbox_pending", "Recorded events that are not published yet.")
outbox_oldest_seconds = Gauge("outbox_oldest_seconds", "Age of the oldest unpublished event.")

_FORGET_PUBLISHED = sa.text(
    "DELETE FROM outbox WHERE published_at < clock() - interval '7 days'"
    " AND id IN (SELECT id FROM outbox ORDER BY id LIMIT :rows)"
)
"""From the front of the table: an index on `published_at` would make every mark dearer."""
_PENDING = sa.text(
    "SELECT count(*), coalesce(extract(epoch FROM clock() - min(created_at)), 0)"
    " FROM outbox WHERE published_at IS NULL"
)


async def run(sessions: Sessions) -> None:
    """Tidy up now and then, until cancelled."""
    while True:
        try:
            await tidy(sessions)
        except outages.DATABASE as error:
            log.warning("housekeeping.database_refused", reason=type(error).__name__)
        await asyncio.sleep(EVERY_SECONDS)


async def tidy(sessions: Sessions) -> None:
    """Remove all that is past its time."""
    for step in (inbox.maintain, answers.forget_old, limits.forget_past):
        async with sessions.begin() as session:
            await step(session)
    while True:
        async with sessions.begin() as session:
            gone = await session.execute(_FORGET_PUBLISHED, {"rows": ROWS_PER_STEP})
        if gone.rowcount < ROWS_PER_STEP:  # type: ignore[attr-defined]
            return


async def measure_outbox(sessions: Sessions) -> None:
    """Set the outbox gauges."""
    async with sessions() as session:
        pending, oldest_seconds = (await session.execute(_PENDING)).one()
    outbox_pending.set(pending)
    outbox_oldest_seconds.set(float(oldest_seconds))
