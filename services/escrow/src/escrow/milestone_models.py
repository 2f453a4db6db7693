"""The tables of milestones, and what an undivided escrow and a milestone have in common."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from escrow.lifecycle import MILESTONE, EscrowAction, EscrowStatus
from escrow.models import Dated, Escrow, Settled
from shared.database import Model
from shared.lifecycle import Lifecycle


class MilestonePlan(Dated, Model):
    """How a side would divide the amount; a newer proposal replaces an older one."""

    __tablename__ = "milestone_plans"

    escrow_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    proposed_by: Mapped[UUID]
    milestones: Mapped[list[Any]]
    """`title` and `amount` of each, in order."""
    agreed_at: Mapped[datetime | None]


class MilestoneEscrow(Settled, Model):
    """A part of a trade with a delivery, a dispute and an end of its own."""

    __tablename__ = "milestone_escrows"
    subject: ClassVar[str] = "milestone"
    lifecycle: ClassVar[Lifecycle[EscrowStatus, EscrowAction]] = MILESTONE

    escrow_id: Mapped[UUID] = mapped_column(sa.ForeignKey("escrows.id"))
    position: Mapped[int]
    """From 1, in the order agreed."""
    title: Mapped[str]
    escrow: Mapped[Escrow] = relationship(lazy="joined", innerjoin=True)

    @property
    def milestone_id(self) -> UUID:
        return self.id

    @property
    def key(self) -> str:
        return f"{self.escrow_id}:m{self.position}"


Part = Escrow | MilestoneEscrow
"""What is settled; the row of `part.escrow` is the lock."""
