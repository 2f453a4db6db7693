"""Who may trade which game, by what other services have said."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from listings import repository
from listings.errors import (
    NotTheOwner,
    TierTooLow,
    UserFrozen,
    UserNotYetKnown,
    VerificationExpired,
    VerificationNotYetKnown,
)
from listings.models import KnownUser, KnownVerification
from shared.events.cards import GameOwnershipType, GameSnapshot, PartyCard
from shared.events.identity import AssetVerificationFailed, AssetVerified, UserUpdated


async def trader(session: AsyncSession, user_id: UUID) -> PartyCard:
    """The card of a user who may trade.

    Raises:
        UserNotYetKnown: identity's word on them is still on its way.
        UserFrozen: they may not act. TierTooLow: no Roblox account is linked.
    """
    known = await repository.user(session, user_id)
    if known is None:
        raise UserNotYetKnown
    if known.is_frozen:
        raise UserFrozen
    if known.card.get("kyc_tier") == "TIER_0" or not known.card.get("roblox_id"):
        raise TierTooLow
    return PartyCard.model_validate(known.card)


async def proof(
    session: AsyncSession, user_id: UUID, game_id: str, now: datetime
) -> tuple[KnownVerification, GameSnapshot]:
    """The valid proof that the user owns the game, and the game as it then was.

    Raises:
        VerificationNotYetKnown: none has arrived. NotTheOwner: the last check failed.
        VerificationExpired: the proof is older than a day.
    """
    known = await repository.verification(session, user_id, game_id)
    if known is None:
        raise VerificationNotYetKnown(game_id)
    if not known.is_verified or known.ownership_type is not GameOwnershipType.OWNER:
        raise NotTheOwner(game_id)
    assert known.valid_until is not None
    if known.valid_until <= now:
        raise VerificationExpired(game_id)
    return known, GameSnapshot.model_validate(known.game)


async def remember_user(session: AsyncSession, fact: UserUpdated) -> None:
    card = fact.model_dump(mode="json", include=set(PartyCard.model_fields))
    known = KnownUser(id=fact.user_id, version=fact.version, card=card, is_frozen=fact.is_frozen)
    await repository.remember(session, known)


async def remember_proof(session: AsyncSession, fact: AssetVerified) -> None:
    await repository.remember(
        session,
        KnownVerification(
            user_id=fact.user_id,
            game_id=fact.game_id,
            version=fact.version,
            is_verified=True,
            ownership_type=fact.ownership_type,
            checked_at=fact.checked_at,
            valid_until=fact.valid_until,
            game=fact.game.model_dump(mode="json"),
        ),
    )


async def remember_failure(session: AsyncSession, fact: AssetVerificationFailed) -> None:
    await repository.remember(
        session,
        KnownVerification(
            user_id=fact.user_id,
            game_id=fact.game_id,
            version=fact.version,
            is_verified=False,
            ownership_type=fact.ownership_type,
            checked_at=fact.checked_at,
            valid_until=None,
            game=None,
        ),
    )
