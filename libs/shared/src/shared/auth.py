"""Who is calling: access tokens are checked here and nowhere else.

A token is a JWT of type `at+jwt`, signed with ES256 or EdDSA by a key that identity publishes.
A `kid` is only compared with the ids that identity published at its one fixed address; whatever
else a header names (`jku`, `x5u`, `jwk`) is never looked at.
"""

import asyncio
import functools
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol
from uuid import UUID

import httpx
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from shared import audit, telemetry
from shared.database import Model, Sessions
from shared.errors import Forbidden, Unavailable
from shared.events.cards import KycTier
from shared.problems import Unauthorized

log = telemetry.get_logger()

AUDIENCE = "bloxtr8-api"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
LEEWAY_SECONDS = 10
FETCH_EVERY_SECONDS = 30
REFRESH_AFTER_SECONDS = 600
STAFF_ROLES = frozenset({"moderator", "admin"})
_MAX_TOKEN_CHARACTERS = 8192
_KID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PUBLIC_MEMBERS = {"EC": ("kty", "crv", "x", "y", "kid"), "OKP": ("kty", "crv", "x", "kid")}
_CURVES = {"P-256", "Ed25519"}


@dataclass(frozen=True)
class Principal:
    """The user for whom a request acts."""

    user_id: UUID
    roles: frozenset[str]
    kyc_tier: KycTier
    client: str | None = None
    """The frontend that acts for the user (`act` of the token)."""
    scopes: frozenset[str] | None = None
    """What the token may be used for; None is everything the user may do."""
    session_id: UUID | None = None

    @property
    def is_staff(self) -> bool:
        return bool(self.roles & STAFF_ROLES)


class KeySource(Protocol):
    """Where the public keys of access tokens come from."""

    async def key(self, kid: str) -> Key | None:
        """The key of this id; None when there is none.

        Raises:
            Unavailable: it cannot be known right now.
        """
        ...


class SigningKey(Model):
    """The last key set that identity published, so that a restart works while it is away."""

    __tablename__ = "signing_key_cache"

    kid: Mapped[str] = mapped_column(primary_key=True)
    jwk: Mapped[dict[str, Any]]


def public_key(jwk: dict[str, Any]) -> Key | None:
    """The key of a published JWK; None for kinds that never sign our tokens."""
    members = _PUBLIC_MEMBERS.get(str(jwk.get("kty")))
    if members is None or jwk.get("crv") not in _CURVES:
        return None
    if not _KID.fullmatch(str(jwk.get("kid", ""))):
        return None
    public = {name: jwk[name] for name in members if name in jwk}
    try:
        return ECKey.import_key(public) if jwk["kty"] == "EC" else OKPKey.import_key(public)
    except (JoseError, ValueError):
        return None


class PublishedKeys:
    """Keys from identity's JWKS: memory, then the service's own table, then at most one fetch in
    30 seconds.
    """

    def __init__(
        self,
        sessions: Sessions,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._sessions = sessions
        self._url = url
        self._transport = transport
        self._keys: dict[str, Key] = {}
        self._is_loaded = False
        self._fetch_failed = False
        self._next_fetch_at = 0.0
        self._stale_at = 0.0
        self._lock = asyncio.Lock()

    async def key(self, kid: str) -> Key | None:
        now = self._seconds()
        if kid in self._keys and (now < self._stale_at or now < self._next_fetch_at):
            return self._keys[kid]
        async with self._lock:
            if not self._is_loaded:
                await self._load()
            is_wanted = kid not in self._keys or self._seconds() >= self._stale_at
            if is_wanted and self._seconds() >= self._next_fetch_at:
                await self._fetch()
        if kid not in self._keys and self._fetch_failed:
            seconds = max(1, int(self._next_fetch_at - self._seconds()) + 1)
            raise Unavailable("Sign-in does not answer.", retry_after_seconds=seconds)
        return self._keys.get(kid)

    async def _load(self) -> None:
        async with self._sessions.begin() as session:
            rows = (await session.scalars(sa.select(SigningKey))).all()
        self._keys = {row.kid: key for row in rows if (key := public_key(row.jwk))}
        self._is_loaded = True

    async def _fetch(self) -> None:
        self._next_fetch_at = self._seconds() + FETCH_EVERY_SECONDS
        try:
            async with httpx.AsyncClient(timeout=3, transport=self._transport) as client:
                published = (await client.get(self._url)).raise_for_status().json()["keys"]
            keys = {jwk["kid"]: (key, jwk) for jwk in published if (key := public_key(jwk))}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._fetch_failed = True
            log.warning("auth.key_fetch_failed", reason=type(error).__name__)
            return
        self._fetch_failed = False
        self._keys = {kid: key for kid, (key, _) in keys.items()}
        self._stale_at = self._seconds() + REFRESH_AFTER_SECONDS
        await self._store({kid: key.as_dict(private=False) for kid, key in self._keys.items()})

    async def _store(self, jwks: dict[str, dict[str, Any]]) -> None:
        async with self._sessions.begin() as session:
            await session.execute(sa.delete(SigningKey).where(SigningKey.kid.not_in(jwks)))
            for kid, jwk in sorted(jwks.items()):
                stored = insert(SigningKey).values(kid=kid, jwk=jwk)
                await session.execute(
                    stored.on_conflict_do_update(
                        index_elements=[SigningKey.kid], set_={"jwk": stored.excluded.jwk}
                    )
                )


class _Actor(BaseModel):
    sub: str = Field(min_length=1, max_length=100)


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore")

    iss: str
    aud: str | list[str]
    sub: UUID
    exp: int = Field(strict=True)
    iat: int = Field(strict=True)
    nbf: int = Field(strict=True)
    jti: str = Field(min_length=1)
    roles: frozenset[str] = frozenset()
    kyc_tier: KycTier
    sid: UUID | None = None
    act: _Actor | None = None
    scope: str | None = None


def _refused() -> Unauthorized:
    return Unauthorized("The access token is not valid here, or has expired.", token="invalid")  # noqa: S106


@functools.lru_cache(maxsize=1024)
def _kid(token: str) -> str:
    """The key that a token of our type names."""
    header = jws.extract_compact(token.encode("ascii")).headers()
    kid = header.get("kid")
    if not isinstance(kid, str) or not _KID.fullmatch(kid) or "crit" in header:
        raise _refused()
    if str(header.get("typ")).lower().removeprefix("application/") != TOKEN_TYPE:
        raise _refused()
    return kid


@functools.lru_cache(maxsize=1024)
def _claims(token: str, jwk: str) -> _Claims:
    """What the key, given as JSON, has signed: a caller sends the same token for minutes."""
    key = public_key(json.loads(jwk))
    if key is None:
        raise ValueError("Keys of this kind never sign our tokens.")
    return _Claims.model_validate(jwt.decode(token, key, algorithms=["ES256", "EdDSA"]).claims)


async def verify(token: str, keys: KeySource, issuer: str) -> Principal:
    """The caller named by an access token.

    Raises:
        Unauthorized: anything at all is wrong with it; which thing is not said.
        Unavailable: its key is unknown and identity does not answer.
    """
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise _refused()
    try:
        key = await keys.key(_kid(token))
        if key is None:
            raise _refused()
        claims = _claims(token, json.dumps(key.as_dict(private=False)))
    except (JoseError, ValidationError, ValueError) as error:
        raise _refused() from error
    now = time.time()
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    is_current = max(claims.nbf, claims.iat) - LEEWAY_SECONDS <= now < claims.exp + LEEWAY_SECONDS
    if claims.iss != issuer or AUDIENCE not in audiences or not is_current:
        raise _refused()
    return Principal(
        user_id=claims.sub,
        roles=claims.roles,
        kyc_tier=claims.kyc_tier,
        client=claims.act.sub if claims.act else None,
        scopes=None if claims.scope is None else frozenset(claims.scope.split()),
        session_id=claims.sid,
    )


class _Bearer(SecurityBase):
    """Reads and checks a request's token: one dependency, for each costs every request."""

    def __init__(self, *, is_required: bool) -> None:
        self.model = HTTPBearer(description="An access token of `POST /v1/auth/token`.")
        self.scheme_name = "HTTPBearer"
        self._is_required = is_required

    async def __call__(self, request: Request) -> Principal | None:
        authorization = request.headers.get("authorization")
        if authorization is None:
            if self._is_required:
                raise Unauthorized("Send an access token as Authorization: Bearer.")
            return None
        scheme, token = get_authorization_scheme_param(authorization)
        if scheme.lower() != "bearer" or not token:
            raise _refused()
        state = request.app.state
        principal = await verify(token, state.keys, state.settings.jwt_issuer)
        audit.origin.set(
            replace(audit.origin.get(), actor_id=principal.user_id, client=principal.client)
        )
        return principal


OptionalCaller = Annotated[Principal | None, Depends(_Bearer(is_required=False))]
"""The caller, or None without a token; a bad token is refused even where none is needed."""
Caller = Annotated[Principal, Depends(_Bearer(is_required=True))]
"""The caller; without a valid token the answer is 401."""


async def _staff(caller: Caller) -> Principal:
    if not caller.is_staff:
        raise Forbidden("Only moderators and admins may do this.")
    return caller


Staff = Annotated[Principal, Depends(_staff)]


async def _admin(caller: Caller) -> Principal:
    if "admin" not in caller.roles or caller.scopes is not None:
        raise Forbidden("Only admins may do this, with a session of their own.")
    return caller


Admin = Annotated[Principal, Depends(_admin)]
"""Who may change the rules for everybody; a token made for one purpose is not enough."""
