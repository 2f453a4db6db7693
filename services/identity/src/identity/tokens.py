"""Access tokens and the keys that sign them; a new key is published before it signs."""

from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import ECKey, Key
from sqlalchemy.ext.asyncio import AsyncSession

from identity import repository
from identity.models import SigningKey, User
from identity.secrets_at_rest import Vault
from shared import audit, clock
from shared.auth import AUDIENCE, TOKEN_TYPE
from shared.database import Sessions
from shared.ids import new_id

TOKEN_SECONDS = 600
PUBLISHED_BEFORE = timedelta(minutes=10)
ROTATED_AFTER = timedelta(days=30)
_PURPOSE = "signing key"


async def _make_key(session: AsyncSession, vault: Vault, *, at_once: bool) -> SigningKey:
    key = ECKey.generate_key("P-256", {"kid": new_id().hex})
    now = await clock.now(session)
    row = SigningKey(
        kid=key.kid,
        public_jwk={**key.as_dict(private=False), "alg": "ES256", "use": "sig"},
        private_key=vault.seal(key.as_pem(private=True), _PURPOSE),
        signs_from=now if at_once else now + PUBLISHED_BEFORE,
    )
    session.add(row)
    await session.flush()
    await audit.record(session, "signing_key.created", "signing_key", row.kid)
    return row


async def published_keys(session: AsyncSession, vault: Vault) -> list[SigningKey]:
    """The keys that tokens may be signed with, newest first; makes the first one, and the next
    one when the newest is 30 days old.
    """
    keys = list(await repository.signing_keys(session))
    now = await clock.now(session)
    if not keys or keys[0].created_at < now - ROTATED_AFTER:
        await repository.lock_signing_keys(session)
        keys = list(await repository.signing_keys(session))
        now = await clock.now(session)  # the key found may have been made during the wait
        if not keys or keys[0].created_at < now - ROTATED_AFTER:
            keys.insert(0, await _make_key(session, vault, at_once=not keys))
            now = await clock.now(session)
    # The one that signs now, those that will, and the one before: its tokens may still be valid.
    signing = next(n for n, key in enumerate(keys) if key.signs_from <= now)
    return keys[: signing + 2]


async def issue(
    session: AsyncSession, vault: Vault, issuer: str, user: User, session_id: UUID
) -> str:
    """A signed access token of ten minutes."""
    keys = await published_keys(session, vault)
    now = await clock.now(session)
    signing = next(key for key in keys if key.signs_from <= now)
    key = ECKey.import_key(vault.open(signing.private_key, _PURPOSE), {"kid": signing.kid})
    issued_at = int(now.timestamp())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": str(user.id),
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + TOKEN_SECONDS,
        "jti": new_id().hex,
        "sid": str(session_id),
        "roles": user.roles,
        "kyc_tier": user.kyc_tier.value,
    }
    return jwt.encode({"alg": "ES256", "typ": TOKEN_TYPE, "kid": signing.kid}, claims, key)


class OwnKeys:
    """Identity's own key source: its table, not its own JWKS over HTTP."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._keys: dict[str, Key] = {}

    async def key(self, kid: str) -> Key | None:
        if kid not in self._keys:
            async with self._sessions() as session:
                row = await session.scalar(sa.select(SigningKey).where(SigningKey.kid == kid))
            if row is None:
                return None
            self._keys[kid] = ECKey.import_key(row.public_jwk)
        return self._keys[kid]
