"""What identity can do, one function a verb; each runs in its caller's transaction."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from identity import repository
from identity.errors import (
    AccountTaken,
    AlreadyLinked,
    EmailTaken,
    RobloxNotLinked,
    SessionNotFound,
    SignInRefused,
    VerificationNotFound,
)
from identity.lifecycle import VALID_FOR, VERIFICATION, VerificationAction, VerificationStatus
from identity.models import Account, AssetVerification, OAuthState, Session, User
from identity.secrets_at_rest import Vault, digest
from shared import audit, clock, deadlines, jobs, outbox
from shared.events.cards import GameOwnershipType, GameSnapshot, KycTier, VerificationMethod
from shared.events.identity import AssetVerificationFailed, AssetVerified, UserUpdated

STATE_LASTS = timedelta(minutes=10)
VERIFY_JOB = "verify_ownership"
VERIFICATION_EXPIRY = "verification_expiry"
DISCORD, ROBLOX = "discord", "roblox"


@dataclass(frozen=True)
class Trip:
    """What a browser needs to go to a provider and come back."""

    state: str
    verifier: str
    nonce: str
    browser: str
    """For the cookie that binds the trip to this browser."""


@dataclass(frozen=True)
class Claim:
    """A provider's word on who came back; the refresh token still in the clear."""

    provider: str
    account_id: str
    name: str
    email: str | None
    refresh_token: str | None
    scope: str


async def begin_trip(session: AsyncSession, provider: str, user_id: UUID | None) -> Trip:
    trip = Trip(*(secrets.token_urlsafe(32) for _ in range(4)))
    session.add(
        OAuthState(
            state_hash=digest(trip.state),
            provider_id=provider,
            browser_hash=digest(trip.browser),
            code_verifier=trip.verifier,
            nonce=trip.nonce,
            user_id=user_id,
            expires_at=await clock.now(session) + STATE_LASTS,
        )
    )
    return trip


async def end_trip(
    session: AsyncSession, provider: str, state: str, browser: str | None
) -> OAuthState:
    """The trip this browser began.

    Raises:
        SignInRefused: it began elsewhere, is over, or took longer than ten minutes.
    """
    trip = None
    if browser:
        trip = await repository.take_state(session, provider, digest(state), digest(browser))
    if trip is None:
        raise SignInRefused("This sign-in was not started here, or is too old. Start it again.")
    return trip


async def announce(session: AsyncSession, user: User) -> None:
    """Say how the user now is."""
    linked = await repository.accounts(session, user.id)
    discord, roblox = linked.get(DISCORD), linked.get(ROBLOX)
    await outbox.record(
        session,
        UserUpdated(
            version=user.version,
            user_id=user.id,
            name=user.name,
            roblox_id=roblox.account_id if roblox else None,
            roblox_name=roblox.account_name if roblox else None,
            discord_id=discord.account_id if discord else None,
            discord_name=discord.account_name if discord else None,
            kyc_tier=user.kyc_tier,
            is_frozen=user.is_frozen,
            roles=user.roles,
            wallet_address=user.wallet_address,
            wallet_risk=user.wallet_risk,
            effective_from=await clock.now(session),
        ),
    )


def _account(claim: Claim, user_id: UUID, vault: Vault) -> Account:
    return Account(
        account_id=claim.account_id,
        provider_id=claim.provider,
        user_id=user_id,
        account_name=claim.name,
        refresh_token=_sealed(claim, vault),
        scope=claim.scope,
    )


def _sealed(claim: Claim, vault: Vault) -> bytes | None:
    if claim.refresh_token is None:
        return None
    return vault.seal(claim.refresh_token.encode(), f"{claim.provider} refresh token")


async def sign_in(session: AsyncSession, claim: Claim, vault: Vault) -> tuple[User, str, Session]:
    """Open a session for the account's user, who is made when new; returns the session's token.

    Raises:
        EmailTaken: the address belongs to a user who signs in another way.
    """
    account = await repository.account(session, claim.provider, claim.account_id)
    if account is None:
        user = await _sign_up(session, claim, vault)
    else:
        found = await repository.lock_user(session, account.user_id)
        assert found is not None
        user = found
        account.refresh_token = _sealed(claim, vault)
        if account.account_name != claim.name:
            account.account_name = claim.name
            user.version += 1
            await session.flush()
            await announce(session, user)
    token = secrets.token_urlsafe(32)
    origin = audit.origin.get()
    opened = Session(
        user_id=user.id,
        token_hash=digest(token),
        expires_at=await clock.now(session) + repository.SESSION_LASTS,
        ip_address=origin.ip,
        user_agent=origin.user_agent,
    )
    session.add(opened)
    await session.flush()
    await audit.record(
        session, "session.opened", "session", opened.id, actor_id=user.id, provider=claim.provider
    )
    return user, token, opened


async def _sign_up(session: AsyncSession, claim: Claim, vault: Vault) -> User:
    if claim.email and await repository.has_email(session, claim.email):
        raise EmailTaken
    user = User(
        name=claim.name,
        email=claim.email,
        email_verified=claim.email is not None,
        kyc_tier=KycTier.TIER_0,
        roles=[],
    )
    session.add(user)
    await session.flush()
    session.add(_account(claim, user.id, vault))
    await session.flush()
    await audit.record(
        session, "user.created", "user", user.id, actor_id=user.id, provider=claim.provider
    )
    await announce(session, user)
    return user


async def link(session: AsyncSession, user_id: UUID, claim: Claim, vault: Vault) -> User:
    """Add the account to the user; Roblox raises them to TIER_1.

    Raises:
        AccountTaken: it is somebody else's. AlreadyLinked: the user has another one.
    """
    user = await repository.lock_user(session, user_id)
    assert user is not None
    account = await repository.account(session, claim.provider, claim.account_id)
    if account is not None and account.user_id != user_id:
        raise AccountTaken(claim.provider)
    if account is None:
        if claim.provider in await repository.accounts(session, user_id):
            raise AlreadyLinked(claim.provider)
        session.add(_account(claim, user_id, vault))
    else:
        account.account_name, account.refresh_token = claim.name, _sealed(claim, vault)
    if claim.provider == ROBLOX and user.kyc_tier is KycTier.TIER_0:
        user.kyc_tier, user.kyc_verified = KycTier.TIER_1, True
    user.version += 1
    await session.flush()
    await audit.record(
        session, "account.linked", "user", user_id, actor_id=user_id, provider=claim.provider
    )
    await announce(session, user)
    return user


async def use_session(session: AsyncSession, token: str) -> tuple[Session, User] | None:
    """The live session behind an opaque token, and its user."""
    used = await repository.use_session(session, digest(token))
    if used is None:
        return None
    user = await repository.user(session, used.user_id)
    assert user is not None
    return used, user


async def revoke_session(session: AsyncSession, user_id: UUID, session_id: UUID) -> None:
    """End one of the user's sessions.

    Raises:
        SessionNotFound: the user has no such live session.
    """
    if not await repository.revoke(session, user_id, session_id):
        raise SessionNotFound(session_id)
    await audit.record(session, "session.revoked", "session", session_id)


async def ask_verification(session: AsyncSession, user_id: UUID, game_id: str) -> AssetVerification:
    """Have it checked whether the user owns the game; the verdict comes by a job.

    Raises:
        RobloxNotLinked: there is no Roblox account to compare with.
    """
    linked = await repository.accounts(session, user_id)
    if ROBLOX not in linked:
        raise RobloxNotLinked
    row = await repository.verification_of(session, user_id, game_id)
    before = None
    if row is None:
        row = AssetVerification(
            user_id=user_id,
            game_id=game_id,
            verification_status=VERIFICATION.initial,
            verification_method=VerificationMethod.GAME_OWNERSHIP_API,
            ownership_type=GameOwnershipType.OWNER,
        )
        session.add(row)
    else:
        before = row.verification_status
        row.verification_status = VERIFICATION.after(before, VerificationAction.ASK)
        row.version += 1
    await session.flush()
    await audit.record(
        session,
        "verification.asked",
        "verification",
        row.id,
        from_=before,
        to=row.verification_status,
    )
    await jobs.enqueue(
        session,
        VERIFY_JOB,
        f"{VERIFY_JOB}:{row.id}:{row.version}",
        {
            "verification_id": str(row.id),
            "version": row.version,
            "game_id": game_id,
            "roblox_id": linked[ROBLOX].account_id,
        },
    )
    return row


async def ask_again(session: AsyncSession, user_id: UUID, game_id: str) -> None:
    """Check the ownership behind a trade once more, if it has ever been checked."""
    if await repository.verification_of(session, user_id, game_id) is not None:
        await ask_verification(session, user_id, game_id)


async def conclude(
    session: AsyncSession,
    verification_id: UUID,
    version: int,
    snapshot: GameSnapshot | None,
    reason: str | None,
) -> None:
    """Write the verdict: proven, or failed for a reason; a newer question makes it void."""
    row = await repository.lock_verification(session, verification_id)
    if row is None or row.version != version:
        return
    action = VerificationAction.FAIL if reason else VerificationAction.PROVE
    before = row.verification_status
    if not VERIFICATION.allows(before, action):
        return
    now = await clock.now(session)
    row.verification_status = VERIFICATION.after(before, action)
    row.version += 1
    row.reason = reason
    row.details = snapshot.model_dump(mode="json") if snapshot else None
    row.verified_at, row.expires_at = (None, None) if reason else (now, now + VALID_FOR)
    await session.flush()
    await audit.record(
        session,
        f"verification.{'failed' if reason else 'proven'}",
        "verification",
        row.id,
        from_=before,
        to=row.verification_status,
    )
    said = {
        "version": row.version,
        "verification_id": row.id,
        "user_id": row.user_id,
        "game_id": row.game_id,
        "ownership_type": row.ownership_type,
        "method": row.verification_method,
        "checked_at": now,
    }
    if reason:
        await deadlines.clear(session, row.id, VERIFICATION_EXPIRY)
        await outbox.record(session, AssetVerificationFailed(**said, reason=reason))
        return
    assert row.expires_at is not None
    await deadlines.set(session, row.id, VERIFICATION_EXPIRY, row.expires_at)
    await outbox.record(session, AssetVerified(**said, valid_until=row.expires_at, game=snapshot))


async def expire_verification(session: AsyncSession, row: AssetVerification | None) -> None:
    """A day has passed since the proof."""
    action = VerificationAction.EXPIRE
    if row is None or not VERIFICATION.allows(row.verification_status, action):
        return
    before = row.verification_status
    row.verification_status = VerificationStatus(VERIFICATION.after(before, action))
    row.version += 1
    await audit.record(
        session,
        "verification.expired",
        "verification",
        row.id,
        from_=before,
        to=row.verification_status,
    )


async def read_verification(
    session: AsyncSession, user_id: UUID, verification_id: UUID
) -> AssetVerification:
    """One of the user's own checks.

    Raises:
        VerificationNotFound: the user has no such one.
    """
    row = await repository.verification(session, user_id, verification_id)
    if row is None:
        raise VerificationNotFound(verification_id)
    return row
