"""Escrow's tables."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from escrow.lifecycle import (
    ESCROW,
    DeliveryStatus,
    DisputeStatus,
    EscrowAction,
    EscrowStatus,
    HoldKind,
    IntentKind,
    IntentState,
    Resolution,
    Settling,
)
from escrow.postings import Account, Cause
from shared.clock import clock
from shared.database import Model, text_enum
from shared.ids import new_id
from shared.lifecycle import Lifecycle
from shared.money import Currency, Rail


class JobKind(StrEnum):
    """The leased work of this service."""

    CALL = "stripe.call"
    WATCH = "stripe.watch"
    LOOK = "stripe.look"
    CANCEL = "stripe.cancel"
    AWAIT_PAYABLE = "stripe.await_payable"
    PROVIDER_FEE = "stripe.provider_fee"
    SWEEP = "stripe.sweep"
    RECONCILE = "stripe.reconcile"


MANY_ATTEMPTS = 1000
"""Of a call to the provider: an outage is waited out, and rules of time end it, not a count."""


class Dated:
    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": True}

    created_at: Mapped[datetime] = mapped_column(default=clock())
    updated_at: Mapped[datetime] = mapped_column(default=clock(), onupdate=clock())


class Settled(Dated):
    """What moves between the sides as one: an undivided escrow, or one milestone of a divided one.

    Both have `escrow`, the trade it belongs to, and `milestone_id`, None for a whole escrow.
    """

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    amount: Mapped[int]
    """Cents, as agreed."""
    fee: Mapped[int]
    """Cents of the amount that the platform keeps, as stamped at acceptance."""
    status: Mapped[EscrowStatus] = mapped_column(text_enum(EscrowStatus))
    settling: Mapped[Settling | None] = mapped_column(text_enum(Settling))
    reason: Mapped[str | None]
    """Why it was refunded or cancelled."""
    delivered_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    """When the buyer confirmed; the payout may still have to wait for the seller's account."""
    deliver_by: Mapped[datetime | None]
    """From then on the buyer may take the money back, while nothing is delivered."""
    release_by: Mapped[datetime | None]
    """When silence after the delivery decides."""
    payout_due_at: Mapped[datetime | None]
    """When silence or a moderator made the payout due; it may have to wait for the account."""
    to_buyer: Mapped[int | None]
    """Cents that a split gives back; the seller's part is the rest."""
    ended_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)


class Escrow(Settled, Model):
    __tablename__ = "escrows"
    subject: ClassVar[str] = "escrow"
    lifecycle: ClassVar[Lifecycle[EscrowStatus, EscrowAction]] = ESCROW

    rail: Mapped[Rail] = mapped_column(text_enum(Rail))
    currency: Mapped[Currency] = mapped_column(text_enum(Currency))
    is_divided: Mapped[bool] = mapped_column(default=False)
    """Its milestones are settled one by one, and end it together."""
    offer_id: Mapped[UUID]
    root_offer_id: Mapped[UUID]
    contract_id: Mapped[UUID] = mapped_column(unique=True)
    listing_id: Mapped[UUID]
    game_id: Mapped[str]
    seller_id: Mapped[UUID]
    buyer_id: Mapped[UUID]
    deal: Mapped[dict[str, Any]]
    """What both sides agreed to, with the trade terms and both parties' cards."""
    sealed_document: Mapped[dict[str, Any]]
    """Where the executed contract lies."""
    pay_by: Mapped[datetime]
    funded_at: Mapped[datetime | None]
    observed_transfer: Mapped[dict[str, Any] | None]
    """The game was seen with the buyer: `creator_id`, `creator_type`, `observed_at`."""

    @property
    def escrow(self) -> "Escrow":
        return self

    @property
    def escrow_id(self) -> UUID:
        return self.id

    @property
    def milestone_id(self) -> None:
        return None

    @property
    def key(self) -> str:
        return str(self.id)


class StripeEscrow(Model):
    """The one payment that counts for an escrow, and what became of it."""

    __tablename__ = "stripe_escrows"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    escrow_id: Mapped[UUID] = mapped_column(unique=True)
    payment_intent_id: Mapped[str] = mapped_column(unique=True)
    charge_id: Mapped[str | None]
    transfer_id: Mapped[str | None]
    refund_id: Mapped[str | None]


class Intent(Dated, Model):
    """Something asked of the provider: written first, frozen, asked under one key for ever."""

    __tablename__ = "intents"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[IntentKind] = mapped_column(text_enum(IntentKind))
    business_key: Mapped[str] = mapped_column(unique=True)
    """What it is for, for example `release:{escrow}:1`; a new try by a person is a new number."""
    escrow_id: Mapped[UUID | None]
    milestone_id: Mapped[UUID | None]
    user_id: Mapped[UUID | None]
    """Whose payout account, where it is for no escrow."""
    source_id: Mapped[UUID | None]
    """The funding intent whose money goes out."""
    amount: Mapped[int | None]
    """Cents asked for."""
    currency: Mapped[str | None]
    params: Mapped[dict[str, Any]]
    """The whole request; never rebuilt."""
    state: Mapped[IntentState] = mapped_column(text_enum(IntentState), default=IntentState.CREATED)
    idem_key: Mapped[str | None]
    """`v1:{environment}:{kind}:{id}`, fixed before the first call."""
    first_called_at: Mapped[datetime | None]
    object_id: Mapped[str | None]
    """The provider's object."""
    provider_status: Mapped[str | None]
    received: Mapped[int | None]
    """Cents that a payment brought, in its own currency."""
    clean_listings: Mapped[int] = mapped_column(default=0)
    """How often the provider's lists were found without it after 23 hours."""
    last_error: Mapped[str | None]
    settled_at: Mapped[datetime | None]


class Delivery(Dated, Model):
    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    escrow_id: Mapped[UUID]
    milestone_id: Mapped[UUID | None]
    offer_id: Mapped[UUID]
    contract_id: Mapped[UUID]
    title: Mapped[str]
    description: Mapped[str]
    status: Mapped[DeliveryStatus] = mapped_column(text_enum(DeliveryStatus))
    delivered_at: Mapped[datetime | None]
    observed_transfer: Mapped[dict[str, Any] | None]


class Dispute(Dated, Model):
    """The two sides do not agree: the money stays until a moderator, or both of them, decide."""

    __tablename__ = "disputes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    escrow_id: Mapped[UUID]
    milestone_id: Mapped[UUID | None]
    opened_by: Mapped[UUID | None]
    """None when silence opened it."""
    opened_from: Mapped[EscrowStatus] = mapped_column(text_enum(EscrowStatus))
    title: Mapped[str]
    description: Mapped[str]
    status: Mapped[DisputeStatus] = mapped_column(text_enum(DisputeStatus))
    resolution: Mapped[Resolution | None] = mapped_column(text_enum(Resolution))
    """As decided; the dispute is RESOLVED when the money has moved."""
    reason: Mapped[str | None]
    moderator_id: Mapped[UUID | None]
    buyer_withdrew_at: Mapped[datetime | None]
    seller_withdrew_at: Mapped[datetime | None]
    alerted_at: Mapped[datetime | None]
    """When it had been open for too long."""
    resolved_at: Mapped[datetime | None]


class DisputeEvidence(Model):
    """What one side says, never changed."""

    __tablename__ = "dispute_evidence"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    dispute_id: Mapped[UUID]
    author_id: Mapped[UUID]
    statement: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class Hold(Dated, Model):
    """While it is not lifted only staff move the escrow."""

    __tablename__ = "holds"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    escrow_id: Mapped[UUID]
    kind: Mapped[HoldKind] = mapped_column(text_enum(HoldKind))
    reason: Mapped[str]
    placed_by: Mapped[UUID | None]
    lifted_by: Mapped[UUID | None]
    lifted_reason: Mapped[str | None]
    lifted_at: Mapped[datetime | None]


class PayoutAccount(Dated, Model):
    """Where a seller is paid; one per user."""

    __tablename__ = "payout_accounts"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[str | None]
    """The connected account; None until the provider has made it."""
    is_payable: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)


class WebhookEvent(Model):
    """What a provider told us, once each, verified and never changed."""

    __tablename__ = "webhook_events"

    provider: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    object_id: Mapped[str]
    created: Mapped[datetime]
    payload: Mapped[dict[str, Any]]
    received_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class User(Model):
    """The little that escrow needs to know of a person (projection of `user.updated`)."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    is_frozen: Mapped[bool]
    version: Mapped[int]


class AssetVerification(Model):
    """The newest check of who owns a game (projection of `asset.*`)."""

    __tablename__ = "asset_verifications"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    game_id: Mapped[str] = mapped_column(primary_key=True)
    is_owner: Mapped[bool]
    checked_at: Mapped[datetime]
    version: Mapped[int]


class LedgerTransaction(Model):
    """One movement of money: append-only, and its entries sum to zero at commit."""

    __tablename__ = "ledger_transactions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    business_key: Mapped[str] = mapped_column(unique=True)
    """`{cause}:{provider's object}`: what has been posted cannot be posted again."""
    cause: Mapped[Cause] = mapped_column(text_enum(Cause))
    escrow_id: Mapped[UUID | None]
    reference: Mapped[str]
    """The provider's object."""
    posted_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class LedgerEntry(Model):
    __tablename__ = "ledger_entries"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    transaction_id: Mapped[UUID] = mapped_column(sa.ForeignKey("ledger_transactions.id"))
    account: Mapped[Account] = mapped_column(text_enum(Account))
    escrow_id: Mapped[UUID | None]
    currency: Mapped[str]
    amount: Mapped[int]
    """Cents; a credit is positive, a debit negative."""
