"""Bodies and answers of the platform's books."""

from datetime import datetime
from typing import Self
from uuid import UUID

from escrow.case_schemas import Text
from escrow.models import Intent, LedgerEntry, LedgerTransaction
from escrow.postings import Account, Cause
from escrow.schemas import LedgerEntryView
from shared.web import RequestBody, View


class Explain(RequestBody):
    reason: Text


class StatementView(View):
    account: Account
    balances: dict[str, int]
    """Signed cents by currency, of all entries: a credit is positive, a debit negative."""
    carried_forward: dict[str, int]
    """The same of the entries before this page."""
    entries: list[LedgerEntryView]
    next_cursor: str | None


class SuspendedView(View):
    """A payment that fits nothing."""

    id: UUID
    escrow_id: UUID | None
    cause: Cause
    amount: int
    """Cents that came."""
    currency: str
    agreed: int | None
    """Cents that were asked for."""
    reference: str
    """The provider's payment."""
    posted_at: datetime

    @classmethod
    def of(cls, payment: Intent, posted: LedgerTransaction, entry: LedgerEntry) -> Self:
        return cls(
            id=payment.id,
            escrow_id=payment.escrow_id,
            cause=posted.cause,
            amount=entry.amount,
            currency=entry.currency,
            agreed=payment.amount,
            reference=posted.reference,
            posted_at=posted.posted_at,
        )


class DifferenceView(View):
    id: UUID
    reference: str
    """The provider's object: a payment, transfer, refund, or a balance transaction for its fee."""
    currency: str
    at_stripe: int
    """Cents that Stripe says have come, less what has left."""
    in_ledger: int
    """Cents that the ledger says so."""
    created_at: datetime
    closed_at: datetime | None
