"""Putting a game on offer and taking it off again."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from listings import repository
from listings.errors import GameListed, ListingNotFound, ListingReserved
from listings.lifecycle import LISTING, ListingAction, ListingStatus, Visibility
from listings.models import KnownVerification, Listing, RobloxSnapshot
from listings.use_cases import parties
from shared import audit, clock, outbox
from shared.errors import PreconditionFailed
from shared.events.cards import GameSnapshot
from shared.events.listings import ListingCreated, ListingSold, ListingUpdated


async def create(
    session: AsyncSession,
    seller_id: UUID,
    *,
    title: str,
    summary: str,
    category: str,
    price: int,
    game_id: str,
    visibility: Visibility,
) -> Listing:
    """Put a game on offer (price in cents).

    Raises:
        TierTooLow, UserFrozen, NotYetKnown, NotTheOwner, VerificationExpired: see `parties`.
        GameListed: it is on offer or reserved already.
    """
    await parties.trader(session, seller_id)
    proof, game = await parties.proof(session, seller_id, game_id, await clock.now(session))
    if await repository.game_is_offered(session, game_id):
        raise GameListed(game_id)
    listing = Listing(
        user_id=seller_id,
        game_id=game_id,
        title=title,
        summary=summary,
        category=category,
        price=price,
        visibility=visibility,
        status=LISTING.initial,
        version=1,
        is_taken_down=False,
    )
    session.add(listing)
    await session.flush()
    take_snapshot(session, listing, proof, game)
    await audit.record(session, "listing.created", "listing", listing.id, to=listing.status)
    await announce(session, listing, ListingCreated, game)
    return listing


def take_snapshot(
    session: AsyncSession, listing: Listing, proof: KnownVerification, game: GameSnapshot
) -> None:
    """Keep the game as it was at this moment of the listing's life."""
    session.add(
        RobloxSnapshot(
            listing_id=listing.id,
            game_id=game.game_id,
            game_name=game.game_name,
            game_description=game.game_description,
            thumbnail_url=game.thumbnail_url,
            player_count=game.player_count,
            visits=game.visits,
            created_date=game.created_date,
            verified_ownership=True,
            ownership_type=proof.ownership_type,
            verification_date=proof.checked_at,
            details=game.model_dump(mode="json"),
        )
    )


async def announce(
    session: AsyncSession,
    listing: Listing,
    fact: type[ListingCreated | ListingUpdated | ListingSold],
    game: GameSnapshot | None = None,
) -> None:
    """Say how the listing now is."""
    if game is None:
        kept = await repository.newest_snapshots(session, [listing.id])
        game = GameSnapshot.model_validate(kept[listing.id].details)
    await session.flush()
    await outbox.record(
        session,
        fact(
            version=listing.version,
            listing_id=listing.id,
            seller_id=listing.user_id,
            game_id=listing.game_id,
            guild_id=listing.guild_id,
            title=listing.title,
            summary=listing.summary,
            category=listing.category,
            price=listing.price,
            visibility=listing.visibility,
            status=listing.status,
            reserved_by_offer_id=listing.reserved_by_offer_id,
            game=game,
        ),
    )


async def move(session: AsyncSession, listing: Listing, action: ListingAction) -> None:
    """Take a locked listing to its next state, record and announce it."""
    before = listing.status
    listing.status = LISTING.after(before, action)
    listing.version += 1
    fact = ListingSold if action is ListingAction.SELL else ListingUpdated
    verb = {
        ListingAction.ACTIVATE: "activated",
        ListingAction.DEACTIVATE: "deactivated",
        ListingAction.RESERVE: "reserved",
        ListingAction.FREE: "freed",
        ListingAction.SELL: "sold",
    }[action]
    await audit.record(
        session, f"listing.{verb}", "listing", listing.id, from_=before, to=listing.status
    )
    await announce(session, listing, fact)


async def read(session: AsyncSession, listing_id: UUID, viewer_id: UUID | None) -> Listing:
    """A listing this viewer may see: public and open, their own, or one they made an offer for.

    Raises:
        ListingNotFound: there is none.
    """
    listing = await repository.listing(session, listing_id)
    if listing is None:
        raise ListingNotFound(listing_id)
    if listing.user_id == viewer_id or _is_public(listing):
        return listing
    if viewer_id is None or not await repository.has_part(session, listing_id, viewer_id):
        raise ListingNotFound(listing_id)
    return listing


def _is_public(listing: Listing) -> bool:
    return listing.visibility is Visibility.PUBLIC and listing.status is not ListingStatus.INACTIVE


async def switch(
    session: AsyncSession, owner_id: UUID, listing_id: UUID, version: int, action: ListingAction
) -> Listing:
    """Activate or deactivate one's own listing at the version one has read.

    Raises:
        ListingNotFound, PreconditionFailed, ListingReserved, IllegalMove, GameListed.
    """
    listing = await repository.lock_listing(session, listing_id)
    if listing is None or listing.user_id != owner_id:
        raise ListingNotFound(listing_id)
    if listing.version != version:
        raise PreconditionFailed(f"The listing is at version {listing.version}.")
    if listing.reserved_by_offer_id is not None:
        raise ListingReserved
    if action is ListingAction.ACTIVATE:
        LISTING.after(listing.status, action)
        await parties.trader(session, owner_id)
        await parties.proof(session, owner_id, listing.game_id, await clock.now(session))
        if listing.is_taken_down or await repository.game_is_offered(session, listing.game_id):
            raise GameListed(listing.game_id)
    await move(session, listing, action)
    return listing
