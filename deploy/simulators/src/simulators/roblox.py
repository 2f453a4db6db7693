"""Roblox: OpenID Connect with PKCE, and the public pages on games, groups and thumbnails."""

import secrets
import struct
import zlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from simulators import oauth
from simulators.oauth import Client, TokenRefused
from simulators.state import State

USERS = {"sasha_builds": 2001, "blair_plays": 2002, "moss_rbx": 2003, "rin_rbx": 2004}
GROUPS = {5001: ("Skyline Studio", 2001), 5002: ("Blair's Games", 2002)}
UNIVERSES: dict[str, tuple[str, str, int]] = {
    "9001": ("Skyline Tycoon", "User", 2001),
    "9002": ("Harbor Heist", "Group", 5001),
    "9004": ("Rin's Obby", "User", 2004),
}
ACCESS_SECONDS = 899
BATCH = 50


class Universe(BaseModel):
    name: str
    creator_type: Literal["User", "Group"]
    creator_id: int


class Owner(BaseModel):
    creator_type: Literal["User", "Group"]
    creator_id: int


def _png() -> bytes:
    """A picture of 8 by 8 sky-blue pixels."""
    rows = b"".join(b"\x00" + b"\x2f\x80\xed" * 8 for _ in range(8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


class World:
    """Who owns which game; `_sim` can change it."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def _changed(self) -> dict[str, Any]:
        return dict(self._state.data["roblox"]["universes"])

    def universe(self, number: str) -> tuple[str, str, int] | None:
        if number in self._changed:
            name, kind, owner = self._changed[number]
            return name, kind, owner
        return UNIVERSES.get(number)

    def owned_by(self, kind: str, owner: int) -> list[str]:
        numbers = {*UNIVERSES, *self._changed}
        return sorted(n for n in numbers if (self.universe(n) or ("", "", 0))[1:] == (kind, owner))

    def add(self, universe: Universe) -> str:
        roblox = self._state.data["roblox"]
        number = str(roblox["next_universe"])
        roblox["next_universe"] += 1
        self.put(number, universe)
        return number

    def put(self, number: str, universe: Universe) -> None:
        self._state.data["roblox"]["universes"][number] = [
            universe.name,
            universe.creator_type,
            universe.creator_id,
        ]
        self._state.save()

    def creator(self, kind: str, owner: int) -> dict[str, Any]:
        names = {number: name for name, number in USERS.items()}
        name = (
            names.get(owner, "someone") if kind == "User" else GROUPS.get(owner, ("a group", 0))[0]
        )
        return {"id": owner, "name": name, "type": kind, "hasVerifiedBadge": False}

    def details(self, number: str) -> dict[str, Any] | None:
        found = self.universe(number)
        if found is None:
            return None
        name, kind, owner = found
        return {
            "id": int(number),
            "rootPlaceId": int(number) * 10,
            "name": name,
            "description": f"{name}: build, trade and grow.",
            "creator": self.creator(kind, owner),
            "price": None,
            "playing": 1200,
            "visits": 4_812_345,
            "maxPlayers": 30,
            "created": "2023-04-01T12:00:00Z",
            "updated": "2026-10-01T12:00:00Z",
            "favoritedCount": 35_021,
            "genre": "All",
        }


def _too_many(ids: list[str]) -> JSONResponse | None:
    if 0 < len(ids) <= BATCH:
        return None
    return JSONResponse({"errors": [{"code": 9, "message": "Too many ids."}]}, 400)


def oauth_router(state: State, client: Client, issuer: str) -> APIRouter:
    routes = APIRouter(prefix="/oauth")
    key = ECKey.generate_key("P-256", {"kid": "roblox-sim"})

    @routes.get("/.well-known/openid-configuration")
    async def configuration() -> dict[str, Any]:
        return {
            "issuer": f"{issuer}/",
            "authorization_endpoint": f"{issuer}/v1/authorize",
            "token_endpoint": f"{issuer}/v1/token",
            "userinfo_endpoint": f"{issuer}/v1/userinfo",
            "jwks_uri": f"{issuer}/v1/certs",
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
        }

    @routes.get("/v1/certs")
    async def certs() -> dict[str, Any]:
        return {"keys": [{**key.as_dict(private=False), "alg": "ES256", "use": "sig"}]}

    @routes.get("/v1/authorize")
    async def authorize(request: Request) -> Response:
        if not request.query_params.get("code_challenge"):
            return JSONResponse({"error": "invalid_request"}, 400)
        return oauth.authorize(request, state, "roblox", client, list(USERS))

    @routes.post("/v1/token")
    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            oauth.check_client(request, form, client)
            grant = _grant(form)
        except TokenRefused as error:
            return oauth.refusal(error)
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        state.data["roblox"]["tokens"][access] = grant["login"]
        state.data["roblox"]["refresh"][refresh] = grant
        state.save()
        user_id = USERS[grant["login"]]
        claims = {
            "iss": f"{issuer}/",
            "aud": client.id,
            "sub": str(user_id),
            "nonce": grant["nonce"],
            "iat": state.now(),
            "exp": state.now() + ACCESS_SECONDS,
            "preferred_username": grant["login"],
        }
        return JSONResponse(
            {
                "access_token": access,
                "refresh_token": refresh,
                "token_type": "Bearer",
                "expires_in": ACCESS_SECONDS,
                "id_token": jwt.encode({"alg": "ES256", "kid": "roblox-sim"}, claims, key),
                "scope": grant["scope"],
            }
        )

    def _grant(form: dict[str, str]) -> dict[str, Any]:
        match form.get("grant_type"):
            case "authorization_code":
                return oauth.redeem(state, "roblox", form)
            case "refresh_token":
                refresh: dict[str, Any] = state.data["roblox"]["refresh"]
                if form.get("refresh_token") not in refresh:
                    raise TokenRefused("invalid_grant", "The refresh token has been used.")
                return dict(refresh.pop(form["refresh_token"]))
            case _:
                raise TokenRefused("unsupported_grant_type", "Unknown grant.")

    @routes.get("/v1/userinfo")
    async def userinfo(request: Request) -> Response:
        login = state.data["roblox"]["tokens"].get(oauth.bearer(request))
        if login is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        return JSONResponse(
            {
                "sub": str(USERS[login]),
                "name": login,
                "nickname": login,
                "preferred_username": login,
                "profile": f"https://www.roblox.com/users/{USERS[login]}/profile",
                "created_at": 1_500_000_000,
            }
        )

    return routes


def public_router(world: World, base: str) -> APIRouter:
    routes = APIRouter()

    @routes.get("/games/v1/games")
    async def games(universeIds: str = "") -> Response:  # noqa: N803 - Roblox's name
        ids = [number for number in universeIds.split(",") if number]
        found = [game for game in map(world.details, ids) if game is not None]
        return _too_many(ids) or JSONResponse({"data": found})

    @routes.get("/games/v2/users/{user_id}/games")
    async def of_user(user_id: int) -> dict[str, Any]:
        return _page([world.details(number) for number in world.owned_by("User", user_id)])

    @routes.get("/games/v2/groups/{group_id}/games")
    async def of_group(group_id: int) -> dict[str, Any]:
        return _page([world.details(number) for number in world.owned_by("Group", group_id)])

    @routes.get("/groups/v1/groups/{group_id}")
    async def group(group_id: int) -> Response:
        if group_id not in GROUPS:
            return JSONResponse({"errors": [{"code": 1, "message": "The group is invalid."}]}, 400)
        name, owner = GROUPS[group_id]
        return JSONResponse({"id": group_id, "name": name, "owner": {"userId": owner}})

    @routes.get("/groups/v2/users/{user_id}/groups/roles")
    async def roles(user_id: int) -> dict[str, Any]:
        return {
            "data": [
                {"group": {"id": number, "name": name}, "role": {"name": "Owner", "rank": 255}}
                for number, (name, owner) in GROUPS.items()
                if owner == user_id
            ]
        }

    @routes.get("/thumbnails/v1/games/icons")
    async def icons(universeIds: str = "") -> Response:  # noqa: N803 - Roblox's name
        ids = [number for number in universeIds.split(",") if number]
        return _too_many(ids) or JSONResponse(
            {
                "data": [
                    {
                        "targetId": int(number),
                        "state": "Completed",
                        "imageUrl": f"{base}/thumbnails/image/{number}.png",
                    }
                    for number in ids
                ]
            }
        )

    @routes.get("/thumbnails/image/{name}")
    async def image(name: str) -> Response:
        return Response(_png(), media_type="image/png", headers={"X-Universe": name})

    return routes


def _page(games: list[dict[str, Any] | None]) -> dict[str, Any]:
    return {"previousPageCursor": None, "nextPageCursor": None, "data": games}


def control_router(world: World) -> APIRouter:
    routes = APIRouter(prefix="/_sim")

    @routes.post("/universes", status_code=201)
    async def add(universe: Annotated[Universe, Body()]) -> dict[str, Any]:
        return {"id": world.add(universe)}

    @routes.post("/universes/{number}/transfer")
    async def transfer(number: str, owner: Annotated[Owner, Body()]) -> Response:
        found = world.universe(number)
        if found is None:
            return JSONResponse({"error": "There is no such universe."}, 404)
        world.put(number, Universe(name=found[0], **owner.model_dump()))
        return JSONResponse({"id": number, **owner.model_dump()})

    return routes
