"""Negotiating: offers, counter-offers, and their ends other than acceptance."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from listings import repository
from listings.errors import (
    AmountOutOfRange,
    ExpiryOutOfRange,
    ListingNotActive,
    ListingNotFound,
    NotYourOffer,
    NotYourTurn,
    OfferExpired,
    OfferNotFound,
    OfferOpen,
    OwnListing,
    WrongCurrency,
)
from listings.lifecycle import OFFER, DeclineReason, ListingStatus, OfferAction
from listings.models import Listing, Offer
from listings.use_cases import listings as listing_cases
from listings.use_cases import parties
from shared import audit, clock, deadlines, outbox, telemetry
from shared.events import listings as facts
from shared.ids import new_id
from shared.money import Currency, currency_for

LEAST_CENTS = 50
DEFAULT_EXPIRY = timedelta(days=7)
SHORTEST, LONGEST = timedelta(hours=1), timedelta(days=30)
OFFER_EXPIRY = "offer_expiry"


async def make(
    session: AsyncSession,
    buyer_id: UUID,
    listing_id: UUID,
    *,
    amount: int,
    currency: Currency,
    conditions: str | None,
    expiry: datetime | None,
) -> Offer:
    """Offer an amount (cents) for a listing.

    Raises:
        ListingNotFound, OwnListing, ListingNotActive, OfferOpen, AmountOutOfRange,
        WrongCurrency, ExpiryOutOfRange, and who may trade: see `parties`.
    """
    await listing_cases.read(session, listing_id, buyer_id)
    listing = await repository.lock_listing(session, listing_id)
    if listing is None:
        raise ListingNotFound(listing_id)
    if listing.user_id == buyer_id:
        raise OwnListing
    await parties.trader(session, buyer_id)
    if listing.status is not ListingStatus.ACTIVE:
        raise ListingNotActive(listing.status)
    if await repository.has_open_offer(session, listing_id, buyer_id):
        raise OfferOpen
    offer = Offer(
        id=new_id(),
        listing_id=listing_id,
        buyer_id=buyer_id,
        seller_id=listing.user_id,
        proposed_by=buyer_id,
    )
    offer.root_offer_id = offer.id
    await _propose(session, listing, offer, amount, currency, conditions, expiry)
    return offer


async def _propose(
    session: AsyncSession,
    listing: Listing,
    offer: Offer,
    amount: int,
    currency: Currency,
    conditions: str | None,
    expiry: datetime | None,
) -> None:
    """Fill in a new offer's terms, keep it and say it."""
    if not LEAST_CENTS <= amount <= listing.price:
        raise AmountOutOfRange(LEAST_CENTS, listing.price)
    if currency is not currency_for(amount):
        raise WrongCurrency(currency_for(amount))
    now = await clock.now(session)
    until = expiry or now + DEFAULT_EXPIRY
    if not now + SHORTEST <= until <= now + LONGEST:
        raise ExpiryOutOfRange
    offer.amount, offer.currency, offer.conditions = amount, currency, conditions
    offer.expiry, offer.listing_version = until, listing.version
    offer.status, offer.version = OFFER.initial, 1
    telemetry.bind_trade(offer.root_offer_id)
    session.add(offer)
    await session.flush()
    await deadlines.set(session, offer.id, OFFER_EXPIRY, until)
    await audit.record(session, "offer.created", "offer", offer.id, to=offer.status)
    await outbox.record(session, facts.OfferCreated(**describe(offer)))


def describe(offer: Offer) -> dict[str, object]:
    """The offer as it now is, for its events."""
    return {
        "version": offer.version,
        "offer_id": offer.id,
        "root_offer_id": offer.root_offer_id,
        "parent_id": offer.parent_id,
        "listing_id": offer.listing_id,
        "buyer_id": offer.buyer_id,
        "seller_id": offer.seller_id,
        "proposed_by": offer.proposed_by,
        "amount": offer.amount,
        "currency": offer.currency,
        "conditions": offer.conditions,
        "expiry": offer.expiry,
        "status": offer.status,
    }


async def lock_for(session: AsyncSession, user_id: UUID, offer_id: UUID) -> tuple[Listing, Offer]:
    """The offer and its listing, locked, for one of its two sides.

    Raises:
        OfferNotFound: the user has no part in it.
    """
    found = await repository.lock_offer(session, offer_id)
    if found is None or user_id not in {found[1].buyer_id, found[1].seller_id}:
        raise OfferNotFound(offer_id)
    telemetry.bind_trade(found[1].root_offer_id)
    return found


async def move(session: AsyncSession, offer: Offer, action: OfferAction) -> None:
    """Take a locked pending offer to its end and record it; its events are the caller's."""
    before = offer.status
    offer.status = OFFER.after(before, action)
    offer.version += 1
    await deadlines.clear(session, offer.id, OFFER_EXPIRY)
    verb = {
        OfferAction.ACCEPT: "accepted",
        OfferAction.COUNTER: "countered",
        OfferAction.DECLINE: "declined",
        OfferAction.EXPIRE: "expired",
    }[action]
    await audit.record(
        session,
        f"offer.{verb}",
        "offer",
        offer.id,
        from_=before,
        to=offer.status,
        reason=offer.reason,
    )


async def check_open(session: AsyncSession, offer: Offer, action: OfferAction) -> None:
    """Raises:
    IllegalMove: the offer is past this. OfferExpired: its time is over.
    """
    OFFER.after(offer.status, action)
    if offer.expiry <= await clock.now(session):
        raise OfferExpired(offer.expiry)


async def counter(
    session: AsyncSession,
    user_id: UUID,
    offer_id: UUID,
    *,
    amount: int,
    currency: Currency,
    conditions: str | None,
    expiry: datetime | None,
) -> Offer:
    """Answer an offer with another: same buyer and seller, the other side's turn.

    Raises:
        OfferNotFound, NotYourTurn, IllegalMove, OfferExpired, ListingNotActive, and what
        `make` raises of amounts, currencies and expiries.
    """
    listing, parent = await lock_for(session, user_id, offer_id)
    await check_open(session, parent, OfferAction.COUNTER)
    if user_id != parent.answered_by:
        raise NotYourTurn
    await parties.trader(session, user_id)
    if listing.status is not ListingStatus.ACTIVE:
        raise ListingNotActive(listing.status)
    child = Offer(
        id=new_id(),
        root_offer_id=parent.root_offer_id,
        parent_id=parent.id,
        listing_id=parent.listing_id,
        buyer_id=parent.buyer_id,
        seller_id=parent.seller_id,
        proposed_by=user_id,
    )
    await move(session, parent, OfferAction.COUNTER)
    await session.flush()
    await _propose(session, listing, child, amount, currency, conditions, expiry)
    fact = facts.OfferCountered.model_validate(describe(parent) | {"counter_id": child.id})
    await outbox.record(session, fact)
    return child


async def decline(session: AsyncSession, user_id: UUID, offer_id: UUID) -> Offer:
    """Refuse the other side's offer.

    Raises:
        OfferNotFound, IllegalMove, NotYourTurn.
    """
    _, offer = await lock_for(session, user_id, offer_id)
    OFFER.after(offer.status, OfferAction.DECLINE)
    if user_id != offer.answered_by:
        raise NotYourTurn
    await end(session, offer, DeclineReason.DECLINED)
    return offer


async def withdraw(session: AsyncSession, user_id: UUID, offer_id: UUID) -> Offer:
    """Take back one's own offer.

    Raises:
        OfferNotFound, IllegalMove, NotYourOffer.
    """
    _, offer = await lock_for(session, user_id, offer_id)
    OFFER.after(offer.status, OfferAction.DECLINE)
    if user_id != offer.proposed_by:
        raise NotYourOffer
    await end(session, offer, DeclineReason.WITHDRAWN)
    return offer


async def end(session: AsyncSession, offer: Offer, reason: DeclineReason) -> None:
    """Decline a locked pending offer for this reason."""
    offer.reason = reason
    await move(session, offer, OfferAction.DECLINE)
    await session.flush()
    fact = facts.OfferDeclined.model_validate(describe(offer) | {"reason": reason})
    await outbox.record(session, fact)


async def expire(session: AsyncSession, found: tuple[Listing, Offer] | None) -> None:
    """The offer's time is over; nothing happens when it was answered before."""
    if found is None or not OFFER.allows(found[1].status, OfferAction.EXPIRE):
        return
    offer = found[1]
    telemetry.bind_trade(offer.root_offer_id)
    await move(session, offer, OfferAction.EXPIRE)
    await session.flush()
    await outbox.record(session, facts.OfferExpired.model_validate(describe(offer)))


async def read(session: AsyncSession, user_id: UUID, offer_id: UUID) -> Offer:
    """An offer the user has a part in.

    Raises:
        OfferNotFound: there is none.
    """
    offer = await repository.offer(session, offer_id)
    if offer is None or user_id not in {offer.buyer_id, offer.seller_id}:
        raise OfferNotFound(offer_id)
    return offer
