"""Facts that escrow says."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from shared.events.envelope import Event
from shared.money import Cents, Currency, Rail, ZeroOrMoreCents


class _Escrow(Event):
    source: ClassVar[str] = "escrow"
    aggregate_field: ClassVar[str] = "escrow_id"

    escrow_id: UUID
    contract_id: UUID
    offer_id: UUID
    root_offer_id: UUID
    listing_id: UUID
    game_id: str
    seller_id: UUID
    buyer_id: UUID
    amount: Cents
    currency: Currency
    status: str


class EscrowCreated(_Escrow):
    topic: ClassVar[str] = "escrow.created"

    rail: Rail
    pay_by: datetime


class EscrowFunded(_Escrow):
    topic: ClassVar[str] = "escrow.funded"

    rail: Rail
    rail_reference: str
    funded_at: datetime


class EscrowMilestoneChanged(_Escrow):
    """A milestone as it now is; `amount` and `status` are those of the whole trade."""

    topic: ClassVar[str] = "escrow.milestone_changed"

    position: int
    title: str
    milestone_amount: Cents
    milestone_fee: ZeroOrMoreCents
    milestone_status: str
    to_buyer: Cents | None = None
    """What a moderator's split gives back of it."""
    reason: str | None = None


class EscrowDelivered(_Escrow):
    topic: ClassVar[str] = "escrow.delivered"

    delivered_by: UUID
    evidence_count: int


class EscrowDisputed(_Escrow):
    """The two sides do not agree; the money stays."""

    topic: ClassVar[str] = "escrow.disputed"

    opened_by: UUID | None = None
    """None when silence after the delivery opened it."""
    evidence_count: int


class _Ended(_Escrow):
    """Amounts in cents: what the seller got, what the buyer got back, what the platform kept."""

    paid_to_seller: ZeroOrMoreCents
    refunded_to_buyer: ZeroOrMoreCents
    fee: ZeroOrMoreCents
    references: list[str]
    reason: str | None = None


class EscrowReleased(_Ended):
    topic: ClassVar[str] = "escrow.released"


class EscrowRefunded(_Ended):
    topic: ClassVar[str] = "escrow.refunded"


class EscrowCancelled(_Ended):
    topic: ClassVar[str] = "escrow.cancelled"
