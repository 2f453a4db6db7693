"""Identity over HTTP. Routes that ask the outside open no transaction while they wait."""

from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Cookie, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from identity import repository, schemas, tokens, use_cases
from identity.errors import (
    AccountTaken,
    AlreadyLinked,
    EmailTaken,
    RobloxNotLinked,
    SessionNotFound,
    SignInRefused,
    VerificationNotFound,
)
from identity.models import User
from identity.providers import DISCORD, Providers
from identity.roblox import Roblox, RobloxUnavailable
from identity.secrets_at_rest import Vault
from identity.settings import Settings
from shared import audit, idempotency, limits, problems
from shared.auth import Caller, OptionalCaller
from shared.database import Sessions
from shared.errors import Invalid, TooManyRequests, Unavailable
from shared.idempotency import OnceIfKeyed
from shared.problems import Unauthorized
from shared.transactions import Transaction
from shared.web import Page, PageParams, decode_cursor, encode_cursor

COOKIE = "bloxtr8_oauth"
Provider = Literal["discord", "roblox"]


def _problems(*kinds: type) -> dict[int | str, dict[str, object]]:
    return problems.responses(Unauthorized, Invalid, Unavailable, *kinds)


class Views:
    """Presents users together with their accounts."""

    @staticmethod
    async def user(session: Transaction, user: User) -> schemas.UserView:
        linked = await repository.accounts(session, user.id)
        shown = {f"{name}_id": account.account_id for name, account in linked.items()}
        shown |= {f"{name}_name": account.account_name for name, account in linked.items()}
        blank = dict.fromkeys(("discord_id", "discord_name", "roblox_id", "roblox_name"))
        fields = ("id", "name", "email", "kyc_tier", "kyc_verified", "roles", "is_frozen")
        own = {name: getattr(user, name) for name in fields}
        return schemas.UserView.model_validate(own | blank | shown)


@dataclass(frozen=True)
class Outside:
    """What routes need beyond their transaction; `api.py` puts it into the app's state."""

    settings: Settings
    sessions: Sessions
    providers: Providers
    roblox: Roblox
    vault: Vault


async def _outside(request: Request) -> Outside:
    outside: Outside = request.app.state.outside
    return outside


Out = Annotated[Outside, Depends(_outside)]
router = APIRouter()


@router.post(
    "/v1/auth/{provider}/start",
    responses=_problems(TooManyRequests),
    tags=["sign-in"],
)
async def start_sign_in(
    out: Out,
    provider: Provider,
    _body: schemas.StartSignIn,
    response: Response,
    caller: OptionalCaller,
) -> schemas.SignInStarted:
    """Discord signs in; Roblox is linked to the signed-in user."""
    if provider != DISCORD and caller is None:
        raise Unauthorized("Sign in with Discord first, then link Roblox.")
    bucket = f"sign-in:{audit.origin.get().ip}"
    await limits.hit(
        out.sessions, bucket, limit=out.settings.sign_in_starts_per_minute, per_seconds=60
    )
    async with out.sessions.begin() as session:
        linker = caller.user_id if caller and provider != DISCORD else None
        trip = await use_cases.begin_trip(session, provider, linker)
    response.set_cookie(
        COOKIE,
        trip.browser,
        max_age=int(use_cases.STATE_LASTS.total_seconds()),
        path="/v1/auth",
        httponly=True,
        secure=out.settings.public_url.startswith("https://"),
        samesite="lax",
    )
    url = out.providers.authorization_url(provider, trip.state, trip.verifier, trip.nonce)
    return schemas.SignInStarted(authorization_url=url)


@router.get(
    "/v1/auth/{provider}/callback",
    responses=_problems(AccountTaken, AlreadyLinked, EmailTaken, SignInRefused),
    tags=["sign-in"],
)
async def finish_sign_in(
    out: Out,
    provider: Provider,
    state: Annotated[str, Query(max_length=200)],
    code: Annotated[str | None, Query(max_length=500)] = None,
    browser: Annotated[str | None, Cookie(alias=COOKIE, max_length=200)] = None,
) -> schemas.SignedIn:
    """Where the provider sends the browser back to."""
    async with out.sessions.begin() as session:
        trip = await use_cases.end_trip(session, provider, state, browser)
    if code is None:
        raise SignInRefused("The provider reports that the sign-in was not allowed.")
    profile = await out.providers.profile(provider, code, trip.code_verifier, trip.nonce)
    claim = use_cases.Claim(**vars(profile))
    async with out.sessions.begin() as session:
        if trip.user_id is not None:
            user = await use_cases.link(session, trip.user_id, claim, out.vault)
            return schemas.SignedIn(user=await Views.user(session, user))
        user, token, opened = await use_cases.sign_in(session, claim, out.vault)
        return schemas.SignedIn(
            session_token=token,
            expires_at=opened.expires_at,
            user=await Views.user(session, user),
        )


@router.post("/v1/auth/token", responses=_problems(TooManyRequests), tags=["sign-in"])
async def buy_access_token(out: Out, request: Request, session: Transaction) -> schemas.AccessToken:
    """A session token, sent as bearer, buys an access token of ten minutes."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    found = await use_cases.use_session(session, token)
    if found is None:
        raise Unauthorized("This session is over. Sign in again.", token="invalid")  # noqa: S106
    used, user = found
    signed = await tokens.issue(session, out.vault, out.settings.jwt_issuer, user, used.id)
    return schemas.AccessToken(access_token=signed, expires_in=tokens.TOKEN_SECONDS)


@router.post("/v1/auth/sign-out", status_code=204, responses=_problems(), tags=["sign-in"])
async def sign_out(caller: Caller, session: Transaction) -> None:
    """End the session this access token was bought with."""
    if caller.session_id is not None:
        await use_cases.revoke_session(session, caller.user_id, caller.session_id)


@router.get("/.well-known/jwks.json", tags=["sign-in"])
async def published_keys(out: Out, response: Response, session: Transaction) -> dict[str, object]:
    """The public keys of access tokens."""
    response.headers["Cache-Control"] = "public, max-age=300"
    keys = await tokens.published_keys(session, out.vault)
    return {"keys": [key.public_jwk for key in keys]}


@router.get("/v1/me", responses=_problems(), tags=["users"])
async def read_me(caller: Caller, session: Transaction) -> schemas.UserView:
    user = await repository.user(session, caller.user_id)
    if user is None:
        raise Unauthorized("This user does not exist.", token="invalid")  # noqa: S106
    return await Views.user(session, user)


@router.get("/v1/sessions", responses=_problems(), tags=["sign-in"])
async def list_sessions(caller: Caller, session: Transaction) -> Page[schemas.SessionView]:
    live = await repository.live_sessions(session, caller.user_id)
    return Page(items=[schemas.SessionView.model_validate(row) for row in live])


@router.delete(
    "/v1/sessions/{session_id}",
    status_code=204,
    responses=_problems(SessionNotFound),
    tags=["sign-in"],
)
async def revoke_session(session_id: UUID, caller: Caller, session: Transaction) -> None:
    await use_cases.revoke_session(session, caller.user_id, session_id)


@router.get("/v1/games", responses=_problems(RobloxUnavailable), tags=["games"])
async def my_games(out: Out, caller: Caller) -> schemas.Games:
    """The games the linked Roblox account may sell."""
    async with out.sessions() as session:
        linked = await repository.accounts(session, caller.user_id)
    if "roblox" not in linked:
        raise RobloxNotLinked
    return schemas.Games(items=await out.roblox.games_of(linked["roblox"].account_id))


@router.post(
    "/v1/verifications",
    status_code=201,
    response_model=schemas.VerificationView,
    responses=_problems(RobloxNotLinked, *idempotency.REFUSALS),
    tags=["games"],
)
async def ask_verification(
    body: schemas.AskVerification, caller: Caller, once: OnceIfKeyed
) -> Response:
    """Have the ownership of a game checked; ask for the verdict a moment later."""

    async def command(session: AsyncSession) -> schemas.VerificationView:
        row = await use_cases.ask_verification(session, caller.user_id, body.game_id)
        await session.refresh(row)
        return schemas.VerificationView.model_validate(row)

    return await once(caller.user_id, command, status=201)


@router.get("/v1/verifications", responses=_problems(), tags=["games"])
async def list_verifications(
    caller: Caller, session: Transaction, page: PageParams
) -> Page[schemas.VerificationView]:
    before = decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    rows = await repository.verifications(session, caller.user_id, page.limit, before)
    shown = [schemas.VerificationView.model_validate(row) for row in rows[: page.limit]]
    is_last = len(rows) <= page.limit
    return Page(items=shown, next_cursor=None if is_last else encode_cursor(shown[-1].id))


@router.get(
    "/v1/verifications/{verification_id}",
    responses=_problems(VerificationNotFound),
    tags=["games"],
)
async def read_verification(
    verification_id: UUID, caller: Caller, session: Transaction
) -> schemas.VerificationView:
    row = await use_cases.read_verification(session, caller.user_id, verification_id)
    return schemas.VerificationView.model_validate(row)
