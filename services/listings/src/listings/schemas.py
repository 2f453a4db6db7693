"""Request and response bodies of listings and offers."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from listings.lifecycle import ListingStatus, OfferStatus, Visibility
from shared.events.cards import GameSnapshot, TradeTerms
from shared.money import Cents, Currency
from shared.web import RequestBody, View


class Category(StrEnum):
    """What kind of game it is."""

    ADVENTURE = "adventure"
    FIGHTING = "fighting"
    HORROR = "horror"
    OBBY = "obby"
    ROLEPLAY = "roleplay"
    RPG = "rpg"
    SHOOTER = "shooter"
    SIMULATION = "simulation"
    SPORTS = "sports"
    STRATEGY = "strategy"
    TYCOON = "tycoon"
    OTHER = "other"


class PriceRange(StrEnum):
    """In dollars; the upper bound is exclusive."""

    UNDER_5K = "under_5k"
    FROM_5K_TO_20K = "5k_20k"
    FROM_20K_TO_100K = "20k_100k"
    OVER_100K = "over_100k"

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """From (inclusive) and below (exclusive), cents."""
        return {
            PriceRange.UNDER_5K: (None, 500_000),
            PriceRange.FROM_5K_TO_20K: (500_000, 2_000_000),
            PriceRange.FROM_20K_TO_100K: (2_000_000, 10_000_000),
            PriceRange.OVER_100K: (10_000_000, None),
        }[self]


Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Summary = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
Conditions = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]


class CreateListing(RequestBody):
    title: Title
    summary: Summary
    category: Category
    price: Cents
    game_id: Annotated[str, Field(pattern=r"^[1-9]\d{0,18}$")]
    visibility: Visibility = Visibility.PUBLIC


class ListingView(View):
    id: UUID
    seller_id: UUID
    title: str
    summary: str
    category: str
    price: int
    currency: Currency = Currency.USD
    game_id: str
    visibility: Visibility
    status: ListingStatus
    is_reserved: bool
    game: GameSnapshot
    version: int
    created_at: datetime
    updated_at: datetime


class Quote(View):
    """What a trade of this amount would cost."""

    amount: int
    currency: Currency
    terms: TradeTerms
    seller_receives: int
    """Cents, after the fee."""


class Proposal(RequestBody):
    """An offer or a counter-offer."""

    amount: Cents
    currency: Currency
    conditions: Conditions | None = None
    expiry: AwareDatetime | None = None


class Accept(RequestBody):
    listing_version: int | None = Field(default=None, strict=True, ge=1)
    """Confirms a listing that has changed since the offer was made."""


class NoBody(RequestBody):
    """Nothing to say."""


class OfferView(View):
    id: UUID
    root_offer_id: UUID
    parent_id: UUID | None
    listing_id: UUID
    listing_version: int
    buyer_id: UUID
    seller_id: UUID
    proposed_by: UUID
    amount: int
    currency: Currency
    conditions: str | None
    expiry: datetime
    status: OfferStatus
    reason: str | None
    accepted_at: datetime | None
    closed_at: datetime | None
    version: int
    created_at: datetime
