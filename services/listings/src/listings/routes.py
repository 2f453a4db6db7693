"""Listings and offers over HTTP: parse, call one use case, present."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from listings import errors, repository, schemas
from listings.lifecycle import ListingAction, ListingStatus
from listings.models import Listing, Offer
from listings.settings import Settings
from listings.use_cases import deals, offers
from listings.use_cases import listings as listing_cases
from shared import idempotency, problems
from shared.auth import Caller, OptionalCaller
from shared.errors import DomainError, Invalid, NotYetKnown, PreconditionFailed
from shared.events.cards import GameSnapshot
from shared.idempotency import Once, OnceIfKeyed
from shared.lifecycle import IllegalMove
from shared.money import currency_for
from shared.problems import PreconditionRequired, Unauthorized
from shared.transactions import Transaction
from shared.web import IfMatch, Page, PageParams, PageRequest, decode_cursor, encode_cursor

router = APIRouter()
_TRADER = (errors.TierTooLow, errors.UserFrozen, NotYetKnown)
_PROPOSAL = (errors.AmountOutOfRange, errors.WrongCurrency, errors.ExpiryOutOfRange)
_ANSWER = (errors.OfferNotFound, IllegalMove, errors.NotYourTurn)


def _problems(*kinds: type[DomainError]) -> dict[int | str, dict[str, object]]:
    return problems.responses(Unauthorized, Invalid, *kinds)


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _views(session: AsyncSession, listings: Sequence[Listing]) -> list[schemas.ListingView]:
    await session.flush()
    snapshots = await repository.newest_snapshots(session, [listing.id for listing in listings])
    shown = []
    for listing in listings:
        await session.refresh(listing)
        fields = {
            name: getattr(listing, name)
            for name in schemas.ListingView.model_fields
            if hasattr(listing, name)
        }
        fields |= {
            "seller_id": listing.user_id,
            "is_reserved": listing.reserved_by_offer_id is not None,
            "game": GameSnapshot.model_validate(snapshots[listing.id].details),
        }
        shown.append(schemas.ListingView.model_validate(fields))
    return shown


async def _offer_view(session: AsyncSession, offer: Offer) -> schemas.OfferView:
    await session.flush()
    await session.refresh(offer)
    return schemas.OfferView.model_validate(offer)


@router.post(
    "/v1/listings",
    status_code=201,
    response_model=schemas.ListingView,
    responses=_problems(
        *_TRADER,
        errors.NotTheOwner,
        errors.VerificationExpired,
        errors.GameListed,
        *idempotency.REFUSALS,
    ),
    tags=["listings"],
)
async def create_listing(
    body: schemas.CreateListing, caller: Caller, once: OnceIfKeyed
) -> Response:
    """Put a game of one's own on offer."""

    async def command(session: AsyncSession) -> schemas.ListingView:
        listing = await listing_cases.create(session, caller.user_id, **body.model_dump())
        return (await _views(session, [listing]))[0]

    return await once(caller.user_id, command, status=201)


@router.get("/v1/listings", responses=_problems(), tags=["listings"])
async def browse_listings(
    session: Transaction,
    caller: OptionalCaller,
    page: PageParams,
    status: ListingStatus | None = None,
    category: schemas.Category | None = None,
    seller_id: UUID | None = None,
    price_range: schemas.PriceRange | None = None,
) -> Page[schemas.ListingView]:
    """Newest first; public without sign-in."""
    low, high = price_range.bounds if price_range else (None, None)
    wanted = repository.Filter(
        status=status,
        category=category,
        seller_id=seller_id,
        price_from=low,
        price_below=high,
        viewer_id=caller.user_id if caller else None,
    )
    rows = await repository.browse(session, wanted, page.limit, _before(page))
    shown = await _views(session, rows[: page.limit])
    return Page(items=shown, next_cursor=_next(rows, page))


def _before(page: PageRequest) -> UUID | None:
    return decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None


def _next(rows: Sequence[Listing | Offer], page: PageRequest) -> str | None:
    return encode_cursor(rows[page.limit - 1].id) if len(rows) > page.limit else None


@router.get(
    "/v1/listings/{listing_id}", responses=_problems(errors.ListingNotFound), tags=["listings"]
)
async def read_listing(
    listing_id: UUID, session: Transaction, caller: OptionalCaller, response: Response
) -> schemas.ListingView:
    viewer_id = caller.user_id if caller else None
    listing = await listing_cases.read(session, listing_id, viewer_id)
    response.headers["ETag"] = f'"{listing.version}"'
    return (await _views(session, [listing]))[0]


_SWITCH_PROBLEMS = _problems(
    errors.ListingNotFound,
    IllegalMove,
    errors.ListingReserved,
    errors.GameListed,
    PreconditionFailed,
    PreconditionRequired,
    *idempotency.REFUSALS,
)


@router.post(
    "/v1/listings/{listing_id}/activate",
    response_model=schemas.ListingView,
    responses=_SWITCH_PROBLEMS,
    tags=["listings"],
)
async def activate_listing(
    listing_id: UUID,
    _body: schemas.NoBody,
    version: IfMatch,
    caller: Caller,
    once: OnceIfKeyed,
) -> Response:
    async def command(session: AsyncSession) -> schemas.ListingView:
        listing = await listing_cases.switch(
            session, caller.user_id, listing_id, version, ListingAction.ACTIVATE
        )
        return (await _views(session, [listing]))[0]

    return await once(caller.user_id, command)


@router.post(
    "/v1/listings/{listing_id}/deactivate",
    response_model=schemas.ListingView,
    responses=_SWITCH_PROBLEMS,
    tags=["listings"],
)
async def deactivate_listing(
    listing_id: UUID,
    _body: schemas.NoBody,
    version: IfMatch,
    caller: Caller,
    once: OnceIfKeyed,
) -> Response:
    async def command(session: AsyncSession) -> schemas.ListingView:
        listing = await listing_cases.switch(
            session, caller.user_id, listing_id, version, ListingAction.DEACTIVATE
        )
        return (await _views(session, [listing]))[0]

    return await once(caller.user_id, command)


@router.get(
    "/v1/listings/{listing_id}/quote",
    responses=_problems(errors.ListingNotFound),
    tags=["offers"],
)
async def quote(
    listing_id: UUID,
    amount: Annotated[int, Query(ge=1, le=10**12)],
    request: Request,
    session: Transaction,
    caller: OptionalCaller,
) -> schemas.Quote:
    """Fee, rail and deadlines of a trade of this amount (cents), before it is offered."""
    await listing_cases.read(session, listing_id, caller.user_id if caller else None)
    terms = deals.terms_for(amount, _settings(request))
    return schemas.Quote(
        amount=amount,
        currency=currency_for(amount),
        terms=terms,
        seller_receives=amount - terms.fee,
    )


@router.post(
    "/v1/listings/{listing_id}/offers",
    status_code=201,
    response_model=schemas.OfferView,
    responses=_problems(
        *_TRADER,
        *_PROPOSAL,
        errors.ListingNotFound,
        errors.OwnListing,
        errors.ListingNotActive,
        errors.OfferOpen,
        *idempotency.REFUSALS,
    ),
    tags=["offers"],
)
async def make_offer(
    listing_id: UUID, body: schemas.Proposal, caller: Caller, once: Once
) -> Response:
    async def command(session: AsyncSession) -> schemas.OfferView:
        offer = await offers.make(session, caller.user_id, listing_id, **body.model_dump())
        return await _offer_view(session, offer)

    return await once(caller.user_id, command, status=201)


@router.get("/v1/offers", responses=_problems(), tags=["offers"])
async def list_offers(
    caller: Caller, session: Transaction, page: PageParams, listing_id: UUID | None = None
) -> Page[schemas.OfferView]:
    """The offers one has a part in, newest first."""
    rows = await repository.offers_of(
        session, caller.user_id, listing_id, page.limit, _before(page)
    )
    shown = [schemas.OfferView.model_validate(row) for row in rows[: page.limit]]
    return Page(items=shown, next_cursor=_next(rows, page))


@router.get("/v1/offers/{offer_id}", responses=_problems(errors.OfferNotFound), tags=["offers"])
async def read_offer(offer_id: UUID, caller: Caller, session: Transaction) -> schemas.OfferView:
    return await _offer_view(session, await offers.read(session, caller.user_id, offer_id))


@router.post(
    "/v1/offers/{offer_id}/accept",
    response_model=schemas.OfferView,
    responses=_problems(
        *_ANSWER,
        *_TRADER,
        errors.OfferExpired,
        errors.ListingNotActive,
        errors.ListingChanged,
        errors.VerificationExpired,
        errors.NotTheOwner,
        *idempotency.REFUSALS,
    ),
    tags=["offers"],
)
async def accept_offer(
    offer_id: UUID,
    body: schemas.Accept,
    request: Request,
    caller: Caller,
    once: Once,
) -> Response:
    """Make the deal; from now on the listing is reserved and a contract is drawn up."""

    async def command(session: AsyncSession) -> schemas.OfferView:
        offer = await deals.accept(
            session, caller.user_id, offer_id, _settings(request), body.listing_version
        )
        return await _offer_view(session, offer)

    return await once(caller.user_id, command)


@router.post(
    "/v1/offers/{offer_id}/counter",
    status_code=201,
    response_model=schemas.OfferView,
    responses=_problems(
        *_ANSWER,
        *_TRADER,
        *_PROPOSAL,
        errors.OfferExpired,
        errors.ListingNotActive,
        *idempotency.REFUSALS,
    ),
    tags=["offers"],
)
async def counter_offer(
    offer_id: UUID, body: schemas.Proposal, caller: Caller, once: Once
) -> Response:
    """Answer with another offer, which then is the other side's to answer."""

    async def command(session: AsyncSession) -> schemas.OfferView:
        child = await offers.counter(session, caller.user_id, offer_id, **body.model_dump())
        return await _offer_view(session, child)

    return await once(caller.user_id, command, status=201)


@router.post(
    "/v1/offers/{offer_id}/decline",
    response_model=schemas.OfferView,
    responses=_problems(*_ANSWER, *idempotency.REFUSALS),
    tags=["offers"],
)
async def decline_offer(
    offer_id: UUID, _body: schemas.NoBody, caller: Caller, once: OnceIfKeyed
) -> Response:
    async def command(session: AsyncSession) -> schemas.OfferView:
        return await _offer_view(session, await offers.decline(session, caller.user_id, offer_id))

    return await once(caller.user_id, command)


@router.post(
    "/v1/offers/{offer_id}/withdraw",
    response_model=schemas.OfferView,
    responses=_problems(
        errors.OfferNotFound, IllegalMove, errors.NotYourOffer, *idempotency.REFUSALS
    ),
    tags=["offers"],
)
async def withdraw_offer(
    offer_id: UUID, _body: schemas.NoBody, caller: Caller, once: OnceIfKeyed
) -> Response:
    async def command(session: AsyncSession) -> schemas.OfferView:
        return await _offer_view(session, await offers.withdraw(session, caller.user_id, offer_id))

    return await once(caller.user_id, command)
