"""Stripe's own books of our balance beside the ledger, and where the two differ."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from escrow.models import Dated
from shared.database import Model
from shared.ids import new_id


class BalanceLine(Model):
    """One balance transaction of Stripe's, kept as it was booked."""

    __tablename__ = "balance_transactions"

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    reference: Mapped[str]
    """The object that moved the money; a payment for its charge."""
    currency: Mapped[str]
    amount: Mapped[int]
    """Cents that came, negative for what left, before the fee."""
    fee: Mapped[int]
    """Cents that Stripe kept."""
    created: Mapped[datetime]
    kept_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class Difference(Dated, Model):
    """The ledger and Stripe do not agree about one object; closed when they do again."""

    __tablename__ = "differences"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    reference: Mapped[str]
    currency: Mapped[str]
    at_stripe: Mapped[int]
    """Cents that Stripe says have come, less what has left."""
    in_ledger: Mapped[int]
    """Cents that the ledger says so."""
    closed_at: Mapped[datetime | None]
