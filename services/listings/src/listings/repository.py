"""Every query and every lock of listings. A listing is locked before its offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from listings.lifecycle import ListingStatus, OfferStatus, Visibility
from listings.models import KnownUser, KnownVerification, Listing, Offer, RobloxSnapshot
from shared import database
from shared.database import Model


@dataclass(frozen=True)
class Filter:
    """What a browser looks for; None is anything. Prices are cents, the upper bound exclusive."""

    status: ListingStatus | None = None
    category: str | None = None
    seller_id: UUID | None = None
    price_from: int | None = None
    price_below: int | None = None
    viewer_id: UUID | None = None
    """Sees everything of their own."""


async def listing(session: AsyncSession, listing_id: UUID) -> Listing | None:
    return await session.get(Listing, listing_id)


async def lock_listing(session: AsyncSession, listing_id: UUID) -> Listing | None:
    return await database.lock(session, Listing, listing_id)


async def browse(
    session: AsyncSession, wanted: Filter, limit: int, before: UUID | None
) -> Sequence[Listing]:
    """Newest first, one more than asked for."""
    is_open = sa.and_(
        Listing.visibility == Visibility.PUBLIC, Listing.status != ListingStatus.INACTIVE
    )
    found = sa.select(Listing).where(sa.or_(is_open, Listing.user_id == wanted.viewer_id))
    conditions = {
        Listing.status: wanted.status,
        Listing.category: wanted.category,
        Listing.user_id: wanted.seller_id,
    }
    for column, value in conditions.items():
        if value is not None:
            found = found.where(column == value)
    if wanted.price_from is not None:
        found = found.where(Listing.price >= wanted.price_from)
    if wanted.price_below is not None:
        found = found.where(Listing.price < wanted.price_below)
    if before is not None:
        found = found.where(Listing.id < before)
    return (await session.scalars(found.order_by(Listing.id.desc()).limit(limit + 1))).all()


async def newest_snapshots(
    session: AsyncSession, listing_ids: Sequence[UUID]
) -> dict[UUID, RobloxSnapshot]:
    newest = (
        sa.select(RobloxSnapshot)
        .where(RobloxSnapshot.listing_id.in_(listing_ids))
        .ext(distinct_on(RobloxSnapshot.listing_id))
        .order_by(RobloxSnapshot.listing_id, RobloxSnapshot.id.desc())
    )
    return {row.listing_id: row for row in await session.scalars(newest)}


async def offer(session: AsyncSession, offer_id: UUID) -> Offer | None:
    return await session.get(Offer, offer_id)


async def lock_offer(session: AsyncSession, offer_id: UUID) -> tuple[Listing, Offer] | None:
    """The offer with its listing, both locked, the listing first."""
    listing_id = await session.scalar(sa.select(Offer.listing_id).where(Offer.id == offer_id))
    if listing_id is None:
        return None
    locked = await lock_listing(session, listing_id)
    found = await database.lock(session, Offer, offer_id)
    assert locked is not None
    assert found is not None
    return locked, found


async def has_part(session: AsyncSession, listing_id: UUID, user_id: UUID) -> bool:
    """Whether the user has ever made an offer for the listing."""
    found = sa.exists().where(Offer.listing_id == listing_id, Offer.buyer_id == user_id)
    return bool(await session.scalar(sa.select(found)))


async def open_offers(session: AsyncSession, listing_id: UUID) -> Sequence[Offer]:
    """All pending offers of a locked listing, locked in the order of their ids."""
    found = (
        sa.select(Offer)
        .where(Offer.listing_id == listing_id, Offer.status == OfferStatus.PENDING)
        .order_by(Offer.id)
        .with_for_update()
    )
    return (await session.scalars(found)).all()


async def has_open_offer(session: AsyncSession, listing_id: UUID, buyer_id: UUID) -> bool:
    found = sa.exists().where(
        Offer.listing_id == listing_id,
        Offer.buyer_id == buyer_id,
        Offer.status == OfferStatus.PENDING,
    )
    return bool(await session.scalar(sa.select(found)))


async def game_is_offered(session: AsyncSession, game_id: str) -> bool:
    found = sa.exists().where(
        Listing.game_id == game_id,
        sa.or_(Listing.status == ListingStatus.ACTIVE, Listing.reserved_by_offer_id.is_not(None)),
    )
    return bool(await session.scalar(sa.select(found)))


async def offers_of(
    session: AsyncSession, user_id: UUID, listing_id: UUID | None, limit: int, before: UUID | None
) -> Sequence[Offer]:
    """Those the user has a part in, newest first, one more than asked for."""
    found = sa.select(Offer).where(sa.or_(Offer.buyer_id == user_id, Offer.seller_id == user_id))
    if listing_id is not None:
        found = found.where(Offer.listing_id == listing_id)
    if before is not None:
        found = found.where(Offer.id < before)
    return (await session.scalars(found.order_by(Offer.id.desc()).limit(limit + 1))).all()


async def user(session: AsyncSession, user_id: UUID) -> KnownUser | None:
    return await session.get(KnownUser, user_id)


async def verification(
    session: AsyncSession, user_id: UUID, game_id: str
) -> KnownVerification | None:
    return await session.get(KnownVerification, (user_id, game_id))


async def remember(session: AsyncSession, fact: KnownUser | KnownVerification) -> None:
    """Keep what a fact says, unless a newer one has been kept."""
    table: type[Model] = type(fact)
    values = {column.key: getattr(fact, column.key) for column in sa.inspect(table).columns}
    keys = [column.name for column in sa.inspect(table).primary_key]
    kept = insert(table).values(values)
    newer = {name: kept.excluded[name] for name in values if name not in keys}
    await session.execute(
        kept.on_conflict_do_update(
            index_elements=keys,
            set_=newer,
            where=table.__table__.c.version < kept.excluded.version,
        )
    )
