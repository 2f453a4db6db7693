"""Writes a movement of money into the ledger."""

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import repository
from escrow.models import Escrow, LedgerTransaction
from escrow.postings import Cause, Entry
from shared.ids import new_id


async def post(
    session: AsyncSession,
    escrow: Escrow,
    cause: Cause,
    entries: Iterable[Entry],
    *,
    currency: str,
    reference: str,
) -> None:
    """Add one balanced transaction to the caller's.

    Args:
        session: the transaction that makes the movement known.
        escrow: whose money it is.
        cause: why it moved.
        entries: sum to zero, in the smallest unit of the currency.
        currency: in capitals.
        reference: the provider's object; with the cause it can be posted once only.
    """
    await repository.add_to_ledger(
        session,
        LedgerTransaction(
            id=new_id(),
            business_key=f"{cause.value}:{reference}",
            cause=cause,
            escrow_id=escrow.id,
            reference=reference,
        ),
        [(new_id(), entry.account, entry.amount) for entry in entries],
        currency,
    )
