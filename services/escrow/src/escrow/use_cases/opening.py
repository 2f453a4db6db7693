"""An escrow opens with its contract; what identity says of people and games is kept beside it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import repository
from escrow.errors import TermsContradict
from escrow.lifecycle import ESCROW
from escrow.models import AssetVerification, Escrow, User
from escrow.use_cases import intents, moves
from shared import audit, clock, deadlines, telemetry
from shared.events.cards import GameOwnershipType
from shared.events.contracts import ContractExecuted
from shared.events.escrow import EscrowCreated
from shared.events.identity import AssetVerificationFailed, AssetVerified, UserUpdated
from shared.ids import new_id
from shared.money import Rail, currency_for, rail_for

PAY_BY = "pay_by"
"""The kind of deadline that ends an unpaid escrow."""


async def open_escrow(session: AsyncSession, event: ContractExecuted) -> None:
    """Open the contract's one escrow by the terms it carries.

    Raises:
        TermsContradict: the rail does not fit the amount and currency.
    """
    if await repository.escrow_of_contract(session, event.contract_id) is not None:
        return
    deal, terms = event.deal, event.deal.terms
    if (terms.rail, deal.currency) != (rail_for(deal.amount), currency_for(deal.amount)):
        raise TermsContradict(event.contract_id)
    telemetry.bind_trade(event.root_offer_id)
    now = await clock.now(session)
    escrow = Escrow(
        id=new_id(),
        rail=terms.rail,
        amount=deal.amount,
        currency=deal.currency,
        fee=terms.fee,
        status=ESCROW.initial,
        offer_id=deal.offer_id,
        root_offer_id=event.root_offer_id,
        contract_id=event.contract_id,
        listing_id=deal.listing_id,
        game_id=deal.game.game_id,
        seller_id=deal.seller.user_id,
        buyer_id=deal.buyer.user_id,
        deal=deal.model_dump(mode="json"),
        sealed_document=event.sealed.model_dump(mode="json"),
        pay_by=now + timedelta(seconds=terms.pay_within_seconds),
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(escrow)
    await session.flush()
    await deadlines.set(session, escrow.id, PAY_BY, escrow.pay_by)
    if escrow.rail is Rail.STRIPE:
        await intents.fund(session, escrow)
    await audit.record(session, "escrow.opened", "escrow", escrow.id, to=escrow.status.value)
    await moves.tell(session, EscrowCreated, escrow, rail=escrow.rail, pay_by=escrow.pay_by)


async def note_ownership(
    session: AsyncSession, event: AssetVerified | AssetVerificationFailed
) -> None:
    """Keep who was found to own the game; only an owner may sell it."""
    is_owner = isinstance(event, AssetVerified) and event.ownership_type is GameOwnershipType.OWNER
    await repository.keep_verification(
        session,
        AssetVerification(
            user_id=event.user_id,
            game_id=event.game_id,
            is_owner=is_owner,
            checked_at=event.checked_at,
            version=event.version,
        ),
    )


async def note_user(session: AsyncSession, event: UserUpdated) -> None:
    await repository.keep_user(
        session,
        User(id=event.user_id, name=event.name, is_frozen=event.is_frozen, version=event.version),
    )


async def find(session: AsyncSession, escrow_id: UUID, user_id: UUID, *, is_staff: bool) -> Escrow:
    """The escrow, for those who have a part in it.

    Raises:
        EscrowNotFound: none, or the caller has none.
    """
    escrow = await repository.escrow(session, escrow_id)
    moves.role_of(escrow, user_id, is_staff=is_staff)
    return escrow
