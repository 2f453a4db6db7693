"""Facts that listings says."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from shared.events.cards import Deal, GameSnapshot
from shared.events.envelope import Event
from shared.money import Cents, Currency


class _Listing(Event):
    """The listing as it now is."""

    source: ClassVar[str] = "listings"
    aggregate_field: ClassVar[str] = "listing_id"
    key_fields: ClassVar[tuple[str, ...]] = ("listing_id",)

    listing_id: UUID
    seller_id: UUID
    game_id: str
    guild_id: UUID | None = None
    title: str
    summary: str
    category: str
    price: Cents
    visibility: str
    status: str
    reserved_by_offer_id: UUID | None = None
    game: GameSnapshot


class ListingCreated(_Listing):
    topic: ClassVar[str] = "listing.created"


class ListingUpdated(_Listing):
    topic: ClassVar[str] = "listing.updated"


class ListingSold(_Listing):
    topic: ClassVar[str] = "listing.sold"


class _Offer(Event):
    """The offer as it now is."""

    source: ClassVar[str] = "listings"
    aggregate_field: ClassVar[str] = "offer_id"

    offer_id: UUID
    root_offer_id: UUID
    parent_id: UUID | None = None
    listing_id: UUID
    buyer_id: UUID
    seller_id: UUID
    proposed_by: UUID
    amount: Cents
    currency: Currency
    conditions: str | None = None
    expiry: datetime
    status: str


class OfferCreated(_Offer):
    topic: ClassVar[str] = "offer.created"


class OfferCountered(_Offer):
    """The parent as it now is; the counter is announced by its own `offer.created`."""

    topic: ClassVar[str] = "offer.countered"
    counter_id: UUID


class OfferDeclined(_Offer):
    topic: ClassVar[str] = "offer.declined"
    reason: str


class OfferExpired(_Offer):
    topic: ClassVar[str] = "offer.expired"


class OfferAccepted(Event):
    """A deal is made; the trade terms are stamped."""

    topic: ClassVar[str] = "offer.accepted"
    source: ClassVar[str] = "listings"
    aggregate_field: ClassVar[str] = "offer_id"

    offer_id: UUID
    root_offer_id: UUID
    deal: Deal
