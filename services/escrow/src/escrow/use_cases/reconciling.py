"""The ledger and Stripe's own books, compared object by object, to the cent."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import book_repository
from escrow.book_models import Difference
from escrow.rails import BalanceTransaction
from shared import clock, telemetry

OVERLAP = timedelta(days=1)
"""How far a listing reaches back behind what is known: clocks and pages are not exact."""

log = telemetry.get_logger()
differences_total = Counter(
    "ledger_differences_total", "Objects on which ledger and Stripe disagreed, in each comparison."
)


async def since(session: AsyncSession) -> datetime | None:
    """From when on Stripe's books are to be listed; None for all of them."""
    newest = await book_repository.newest_line(session)
    return None if newest is None else newest - OVERLAP


async def compare(session: AsyncSession, lines: Sequence[BalanceTransaction]) -> None:
    """Keep what Stripe has booked, list what differs now, and close what does so no more."""
    await book_repository.keep_lines(session, lines)
    found = await book_repository.differing(session)
    now = await clock.now(session)
    known = {
        (one.reference, one.currency): one
        for one in await book_repository.open_differences(session)
    }
    for place, one in known.items():
        if place not in found:
            one.closed_at = now
            log.info("reconciliation.closed", reference=one.reference, currency=one.currency)
    for (reference, currency), (at_stripe, in_ledger) in found.items():
        one = known.get((reference, currency)) or Difference(reference=reference, currency=currency)
        one.at_stripe, one.in_ledger = at_stripe, in_ledger
        session.add(one)
        log.error(
            "reconciliation.difference",
            reference=reference,
            currency=currency,
            at_stripe=at_stripe,
            in_ledger=in_ledger,
        )
    await session.flush()
    differences_total.inc(len(found))
