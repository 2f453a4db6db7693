"""Every query and every lock of identity."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from identity.models import Account, AssetVerification, OAuthState, Session, SigningKey, User
from shared import database
from shared.clock import clock

SESSION_LASTS = timedelta(days=30)


async def user(session: AsyncSession, user_id: UUID) -> User | None:
    return await session.get(User, user_id)


async def lock_user(session: AsyncSession, user_id: UUID) -> User | None:
    return await database.lock(session, User, user_id)


async def accounts(session: AsyncSession, user_id: UUID) -> dict[str, Account]:
    """The user's accounts by provider."""
    rows = await session.scalars(sa.select(Account).where(Account.user_id == user_id))
    return {account.provider_id: account for account in rows}


async def account(session: AsyncSession, provider: str, account_id: str) -> Account | None:
    found = sa.select(Account).where(
        Account.provider_id == provider, Account.account_id == account_id
    )
    return await session.scalar(found)


async def has_email(session: AsyncSession, email: str) -> bool:
    found = sa.select(sa.exists().where(sa.func.lower(User.email) == email.lower()))
    return bool(await session.scalar(found))


async def take_state(
    session: AsyncSession, provider: str, state_hash: bytes, browser_hash: bytes
) -> OAuthState | None:
    """The trip that this browser began; gone afterwards, so that it works once."""
    taken = (
        sa.delete(OAuthState)
        .where(
            OAuthState.state_hash == state_hash,
            OAuthState.provider_id == provider,
            OAuthState.browser_hash == browser_hash,
            OAuthState.expires_at > clock(),
        )
        .returning(OAuthState)
    )
    return (await session.execute(taken)).scalar_one_or_none()


async def use_session(session: AsyncSession, token_hash: bytes) -> Session | None:
    """The live session of a token, with its end moved on."""
    used = (
        sa.update(Session)
        .where(
            Session.token_hash == token_hash,
            Session.revoked_at.is_(None),
            Session.expires_at > clock(),
        )
        .values(expires_at=clock() + SESSION_LASTS, updated_at=clock())
        .returning(Session)
    )
    return (await session.execute(used)).scalar_one_or_none()


async def live_sessions(session: AsyncSession, user_id: UUID) -> Sequence[Session]:
    live = (
        sa.select(Session)
        .where(
            Session.user_id == user_id,
            Session.revoked_at.is_(None),
            Session.expires_at > clock(),
        )
        .order_by(Session.created_at.desc())
    )
    return (await session.scalars(live)).all()


async def revoke(session: AsyncSession, user_id: UUID, session_id: UUID) -> bool:
    """False when the user has no such live session."""
    revoked = (
        sa.update(Session)
        .where(Session.id == session_id, Session.user_id == user_id, Session.revoked_at.is_(None))
        .values(revoked_at=clock(), updated_at=clock())
        .returning(Session.id)
    )
    return (await session.execute(revoked)).scalar_one_or_none() is not None


async def signing_keys(session: AsyncSession) -> Sequence[SigningKey]:
    """Newest first."""
    return (
        await session.scalars(sa.select(SigningKey).order_by(SigningKey.created_at.desc()))
    ).all()


async def lock_signing_keys(session: AsyncSession) -> None:
    """One process at a time may make a key."""
    await session.execute(
        sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("signing_keys")))
    )


async def verification_of(
    session: AsyncSession, user_id: UUID, game_id: str
) -> AssetVerification | None:
    """The user's row for the game, locked."""
    found = (
        sa.select(AssetVerification)
        .where(AssetVerification.user_id == user_id, AssetVerification.game_id == game_id)
        .with_for_update()
    )
    return await session.scalar(found)


async def lock_verification(
    session: AsyncSession, verification_id: UUID
) -> AssetVerification | None:
    return await database.lock(session, AssetVerification, verification_id)


async def verification(
    session: AsyncSession, user_id: UUID, verification_id: UUID
) -> AssetVerification | None:
    found = sa.select(AssetVerification).where(
        AssetVerification.id == verification_id, AssetVerification.user_id == user_id
    )
    return await session.scalar(found)


async def verifications(
    session: AsyncSession, user_id: UUID, limit: int, before: UUID | None
) -> Sequence[AssetVerification]:
    """Newest first, one more than asked for."""
    found = sa.select(AssetVerification).where(AssetVerification.user_id == user_id)
    if before is not None:
        found = found.where(AssetVerification.id < before)
    found = found.order_by(AssetVerification.id.desc()).limit(limit + 1)
    return (await session.scalars(found)).all()
