"""The tables of listings."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from listings.lifecycle import ListingStatus, OfferStatus, Visibility
from shared.database import Model, text_enum
from shared.events.cards import GameOwnershipType
from shared.ids import new_id
from shared.money import Currency


class Listing(Model):
    __tablename__ = "listings"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID]
    """The seller."""
    game_id: Mapped[str]
    guild_id: Mapped[UUID | None]
    title: Mapped[str]
    summary: Mapped[str]
    category: Mapped[str]
    price: Mapped[int]
    """Cents, USD."""
    visibility: Mapped[Visibility] = mapped_column(text_enum(Visibility))
    status: Mapped[ListingStatus] = mapped_column(text_enum(ListingStatus))
    is_taken_down: Mapped[bool] = mapped_column(default=False)
    """By staff; freeing a reservation never undoes it."""
    reserved_by_offer_id: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class RobloxSnapshot(Model):
    __tablename__ = "roblox_snapshots"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    listing_id: Mapped[UUID]
    game_id: Mapped[str]
    game_name: Mapped[str]
    game_description: Mapped[str | None]
    thumbnail_url: Mapped[str | None]
    player_count: Mapped[int | None]
    visits: Mapped[int | None]
    created_date: Mapped[datetime | None]
    verified_ownership: Mapped[bool]
    ownership_type: Mapped[GameOwnershipType] = mapped_column(text_enum(GameOwnershipType))
    verification_date: Mapped[datetime | None]
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
    """The whole snapshot as identity said it."""
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class Offer(Model):
    __tablename__ = "offers"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    root_offer_id: Mapped[UUID]
    """The first offer of a negotiation; the whole trade is known by it."""
    parent_id: Mapped[UUID | None]
    listing_id: Mapped[UUID]
    listing_version: Mapped[int]
    """The version of the listing that the proposer saw."""
    buyer_id: Mapped[UUID]
    seller_id: Mapped[UUID]
    proposed_by: Mapped[UUID]
    amount: Mapped[int]
    currency: Mapped[Currency] = mapped_column(text_enum(Currency))
    conditions: Mapped[str | None]
    expiry: Mapped[datetime]
    status: Mapped[OfferStatus] = mapped_column(text_enum(OfferStatus))
    reason: Mapped[str | None]
    """Why it was declined."""
    accepted_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    """When the trade that it began ended."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))

    @property
    def answered_by(self) -> UUID:
        """The side whose turn it is."""
        return self.seller_id if self.proposed_by == self.buyer_id else self.buyer_id


class KnownUser(Model):
    """What `user.updated` last said."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    card: Mapped[dict[str, Any]]
    is_frozen: Mapped[bool]


class KnownVerification(Model):
    """What `asset.verified` or `asset.verification_failed` last said."""

    __tablename__ = "verifications"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    game_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    is_verified: Mapped[bool]
    ownership_type: Mapped[GameOwnershipType] = mapped_column(text_enum(GameOwnershipType))
    checked_at: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    game: Mapped[dict[str, Any] | None]
