"""An accepted offer reserves the listing until its trade ends; how it ends decides what follows."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from listings import repository
from listings.errors import ListingChanged, ListingNotActive, NotYourTurn
from listings.lifecycle import DeclineReason, ListingAction, ListingStatus, OfferAction
from listings.models import Listing, Offer
from listings.settings import Settings
from listings.use_cases import listings as listing_cases
from listings.use_cases import offers, parties
from shared import audit, clock, outbox, telemetry
from shared.events.cards import Deal, TradeTerms
from shared.events.listings import ListingUpdated, OfferAccepted
from shared.money import fee_cents, rail_for


class End(StrEnum):
    """How a trade ended."""

    SOLD = "SOLD"
    FREED = "FREED"


def terms_for(amount: int, settings: Settings) -> TradeTerms:
    """The terms a trade of this amount (cents) is made on, stamped once at acceptance."""
    return TradeTerms(
        fee_basis_points=settings.fee_basis_points,
        fee=fee_cents(amount, settings.fee_basis_points),
        rail=rail_for(amount),
        sign_within_seconds=settings.sign_within_seconds,
        pay_within_seconds=settings.pay_within_seconds,
        deliver_within_seconds=settings.deliver_within_seconds,
        auto_release_seconds=settings.auto_release_seconds,
        reclaim_after_seconds=settings.reclaim_after_seconds,
    )


async def accept(
    session: AsyncSession,
    user_id: UUID,
    offer_id: UUID,
    settings: Settings,
    listing_version: int | None,
) -> Offer:
    """Make the deal: the offer is accepted, the listing reserved, the terms are stamped.

    Raises:
        OfferNotFound, IllegalMove, OfferExpired, NotYourTurn, ListingNotActive, ListingChanged,
        VerificationExpired, NotTheOwner, NotYetKnown, UserFrozen, TierTooLow.
    """
    listing, offer = await offers.lock_for(session, user_id, offer_id)
    await offers.check_open(session, offer, OfferAction.ACCEPT)
    if user_id != offer.answered_by:
        raise NotYourTurn
    if listing.status is not ListingStatus.ACTIVE:
        raise ListingNotActive(listing.status)
    if listing.version not in {offer.listing_version, listing_version}:
        raise ListingChanged(listing.version)
    now = await clock.now(session)
    proof, game = await parties.proof(session, offer.seller_id, listing.game_id, now)
    seller = await parties.trader(session, offer.seller_id)
    buyer = await parties.trader(session, offer.buyer_id)
    offer.accepted_at = now
    await offers.move(session, offer, OfferAction.ACCEPT)
    listing.reserved_by_offer_id = offer.id
    listing_cases.take_snapshot(session, listing, proof, game)
    await listing_cases.move(session, listing, ListingAction.RESERVE)
    deal = Deal(
        listing_id=listing.id,
        offer_id=offer.id,
        amount=offer.amount,
        currency=offer.currency,
        conditions=offer.conditions,
        terms=terms_for(offer.amount, settings),
        seller=seller,
        buyer=buyer,
        game=game,
        accepted_at=now,
    )
    await outbox.record(
        session,
        OfferAccepted(
            version=offer.version,
            offer_id=offer.id,
            root_offer_id=offer.root_offer_id,
            deal=deal,
        ),
    )
    return offer


async def close(session: AsyncSession, offer_id: UUID, end: End) -> None:
    """The trade that this offer began has ended; a second word on it changes nothing."""
    found = await repository.lock_offer(session, offer_id)
    if found is None or found[1].closed_at is not None:
        return
    listing, offer = found
    telemetry.bind_trade(offer.root_offer_id)
    offer.closed_at = await clock.now(session)
    offer.version += 1
    await audit.record(session, "offer.closed", "offer", offer.id, end=end)
    if listing.reserved_by_offer_id != offer.id:
        return
    listing.reserved_by_offer_id = None
    if end is End.SOLD:
        await listing_cases.move(session, listing, ListingAction.SELL)
        for other in await repository.open_offers(session, listing.id):
            await offers.end(session, other, DeclineReason.SOLD)
    elif await _may_be_offered(session, listing):
        await listing_cases.move(session, listing, ListingAction.FREE)
    else:
        listing.version += 1
        await audit.record(session, "listing.released", "listing", listing.id)
        await listing_cases.announce(session, listing, ListingUpdated)


async def _may_be_offered(session: AsyncSession, listing: Listing) -> bool:
    """Not when staff took it down, the owner is frozen, or their last check failed; the age of
    a proof blocks only acceptance.
    """
    owner = await repository.user(session, listing.user_id)
    proof = await repository.verification(session, listing.user_id, listing.game_id)
    is_proven = proof is not None and proof.is_verified
    is_frozen = owner is not None and owner.is_frozen
    return is_proven and not is_frozen and not listing.is_taken_down
