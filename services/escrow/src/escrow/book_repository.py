"""The ledger, account statements, money in suspense, Stripe's books and differences."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from escrow.book_models import BalanceLine, Difference
from escrow.lifecycle import IntentKind
from escrow.models import Escrow, Intent, LedgerEntry, LedgerTransaction
from escrow.postings import Account, Cause, Entry
from escrow.rails import BalanceTransaction
from shared.database import driver
from shared.ids import new_id

SUSPENDED = (Cause.MISFIT, Cause.LATE)

_ADD_TO_LEDGER = """
WITH added AS (
    INSERT INTO ledger_transactions (id, business_key, cause, escrow_id, reference)
    VALUES ($1, $2, $3, $4, $5) RETURNING id, escrow_id
)
INSERT INTO ledger_entries (id, transaction_id, account, escrow_id, currency, amount)
SELECT entry.id, added.id, entry.account, added.escrow_id, $6, entry.amount
FROM added, unnest($7::uuid[], $8::text[], $9::bigint[]) AS entry (id, account, amount)
"""
"""One statement, for one round trip: a posting happens while an escrow's row is locked."""


async def post(
    session: AsyncSession,
    escrow: Escrow,
    cause: Cause,
    entries: Iterable[Entry],
    *,
    currency: str,
    reference: str,
) -> None:
    """Add one balanced transaction of the ledger to the caller's.

    Args:
        session: the transaction that makes the movement known.
        escrow: whose money it is.
        cause: why it moved.
        entries: sum to zero, in the smallest unit of the currency.
        currency: in capitals.
        reference: the provider's object; with the cause it can be posted once only.

    Raises:
        asyncpg.UniqueViolationError: it has been posted before.
    """
    await session.flush()
    await (await driver(session)).execute(
        _ADD_TO_LEDGER,
        new_id(),
        f"{cause.value}:{reference}",
        cause.value,
        escrow.id,
        reference,
        currency,
        *zip(*((new_id(), entry.account, entry.amount) for entry in entries), strict=True),
    )


async def ledger(
    session: AsyncSession, escrow_id: UUID
) -> Sequence[tuple[LedgerTransaction, LedgerEntry]]:
    """Every entry of an escrow with its transaction, in the order they were posted."""
    rows = await session.execute(
        sa.select(LedgerTransaction, LedgerEntry)
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .where(LedgerTransaction.escrow_id == escrow_id)
        .order_by(LedgerTransaction.id, LedgerEntry.id)
    )
    return [(row[0], row[1]) for row in rows]


async def statement(
    session: AsyncSession, account: Account, *, after: UUID | None, limit: int
) -> Sequence[tuple[LedgerTransaction, LedgerEntry]]:
    """Entries of one account with their transactions, in the order they were posted."""
    wanted = (
        sa.select(LedgerTransaction, LedgerEntry)
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .where(LedgerEntry.account == account)
    )
    if after is not None:
        wanted = wanted.where(LedgerEntry.id > after)
    rows = await session.execute(wanted.order_by(LedgerEntry.id).limit(limit))
    return [(row[0], row[1]) for row in rows]


async def balances(
    session: AsyncSession, account: Account, *, up_to: UUID | None = None
) -> dict[str, int]:
    """Cents of an account by currency; `up_to` counts entries to this one and no later."""
    wanted = sa.select(LedgerEntry.currency, sa.func.sum(LedgerEntry.amount)).where(
        LedgerEntry.account == account
    )
    if up_to is not None:
        wanted = wanted.where(LedgerEntry.id <= up_to)
    rows = await session.execute(wanted.group_by(LedgerEntry.currency))
    return {row[0]: int(row[1]) for row in rows}


async def suspended(
    session: AsyncSession, *, after: UUID | None, limit: int
) -> Sequence[tuple[Intent, LedgerTransaction, LedgerEntry]]:
    """Payments whose money still lies in suspense, oldest first, with why and how much."""
    wanted = (
        sa.select(Intent, LedgerTransaction, LedgerEntry)
        .join(LedgerTransaction, LedgerTransaction.reference == Intent.object_id)
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .where(LedgerEntry.account == Account.SUSPENSE)
        .where(Intent.kind == IntentKind.FUND, LedgerTransaction.cause.in_(SUSPENDED))
        .where(~_is_attributed(), ~_is_returned())
        .where(_lying(LedgerEntry.escrow_id, LedgerEntry.currency) > 0)
    )
    if after is not None:
        wanted = wanted.where(Intent.id > after)
    rows = await session.execute(wanted.order_by(Intent.id).limit(limit))
    return [(row[0], row[1], row[2]) for row in rows]


def _is_attributed() -> sa.ColumnElement[bool]:
    out = aliased(LedgerTransaction)
    return sa.exists().where(out.reference == Intent.object_id, out.cause == Cause.ATTRIBUTED)


def _is_returned() -> sa.ColumnElement[bool]:
    back, out = aliased(Intent), aliased(LedgerTransaction)
    return sa.exists().where(
        back.source_id == Intent.id,
        back.kind == IntentKind.RETURN,
        out.reference == back.object_id,
        out.cause == Cause.RETURNED,
    )


def _lying(escrow_id: Any, currency: Any) -> sa.ScalarSelect[int]:
    entry = aliased(LedgerEntry)
    return (
        sa.select(sa.func.coalesce(sa.func.sum(entry.amount), 0))
        .where(entry.escrow_id == escrow_id, entry.currency == currency)
        .where(entry.account == Account.SUSPENSE)
        .scalar_subquery()
    )


async def in_suspense(session: AsyncSession, escrow_id: UUID, currency: str) -> int:
    """Cents of an escrow that lie in suspense now."""
    return int(await session.scalar(sa.select(_lying(escrow_id, currency))) or 0)


async def posted(
    session: AsyncSession, reference: str, causes: Sequence[Cause]
) -> LedgerTransaction | None:
    """The movement of this provider's object for one of these causes."""
    return await session.scalar(
        sa.select(LedgerTransaction).where(
            LedgerTransaction.reference == reference, LedgerTransaction.cause.in_(causes)
        )
    )


async def set_aside(session: AsyncSession, reference: str) -> tuple[int, str] | None:
    """Cents and currency of a payment that were put into suspense."""
    row = (
        await session.execute(
            sa.select(LedgerEntry.amount, LedgerEntry.currency)
            .join(LedgerTransaction, LedgerEntry.transaction_id == LedgerTransaction.id)
            .where(LedgerTransaction.reference == reference)
            .where(LedgerTransaction.cause.in_(SUSPENDED), LedgerEntry.account == Account.SUSPENSE)
        )
    ).one_or_none()
    return None if row is None else (row[0], row[1])


async def newest_line(session: AsyncSession) -> datetime | None:
    return await session.scalar(sa.select(sa.func.max(BalanceLine.created)))


async def keep_lines(session: AsyncSession, lines: Sequence[BalanceTransaction]) -> None:
    """Keep what Stripe has booked; what is known already stays."""
    for line in lines:
        await session.execute(
            insert(BalanceLine)
            .values(
                id=line.id,
                type=line.type,
                reference=line.reference,
                currency=line.currency.upper(),
                amount=line.amount,
                fee=line.fee,
                created=line.created,
            )
            .on_conflict_do_nothing()
        )


_DIFFER = sa.text("""
WITH stripe AS (
    SELECT reference, currency, sum(amount) AS amount FROM (
        SELECT reference, currency, amount FROM balance_transactions
        UNION ALL
        SELECT id, currency, -fee FROM balance_transactions WHERE fee <> 0
    ) AS line GROUP BY reference, currency
), ledger AS (
    SELECT t.reference, e.currency, -sum(e.amount) AS amount
    FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id
    WHERE e.account = 'stripe:balance' GROUP BY t.reference, e.currency
)
SELECT reference, currency, coalesce(s.amount, 0) AS at_stripe, coalesce(l.amount, 0) AS in_ledger
FROM stripe s FULL JOIN ledger l USING (reference, currency)
WHERE coalesce(s.amount, 0) <> coalesce(l.amount, 0) AND NOT (
    EXISTS (SELECT FROM holds WHERE kind = 'CHARGEBACK' AND reason = 'Chargeback ' || reference)
    AND NOT EXISTS (SELECT FROM webhook_events
        WHERE object_id = reference AND type = 'charge.dispute.closed'
            AND received_at < clock() - interval '15 minutes'))
ORDER BY reference, currency
""")
"""What a bank holds while it decides about a chargeback is nobody's yet, and differs by rule, also
when staff have let the trade go on; once it is decided it is posted in minutes."""


async def differing(session: AsyncSession) -> dict[tuple[str, str], tuple[int, int]]:
    """By (object, currency): cents at Stripe and in the ledger, where they are not the same."""
    rows = await session.execute(_DIFFER)
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in rows}


async def open_differences(session: AsyncSession) -> Sequence[Difference]:
    return (
        await session.scalars(sa.select(Difference).where(Difference.closed_at.is_(None)))
    ).all()


async def differences(
    session: AsyncSession, *, is_open: bool, before: UUID | None, limit: int
) -> Sequence[Difference]:
    """Newest first."""
    wanted = sa.select(Difference).where(
        Difference.closed_at.is_(None) if is_open else Difference.closed_at.is_not(None)
    )
    if before is not None:
        wanted = wanted.where(Difference.id < before)
    return (await session.scalars(wanted.order_by(Difference.id.desc()).limit(limit))).all()
