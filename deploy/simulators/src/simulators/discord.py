"""Discord's OAuth2 and `/users/@me`."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from simulators import oauth
from simulators.oauth import Client, TokenRefused
from simulators.state import Part

USERS = {
    "sasha": ("100000000000000001", "Sasha"),
    "blair": ("100000000000000002", "Blair"),
    "moss": ("100000000000000003", "Moss"),
    "rin": ("100000000000000004", "Rin"),
}
TOKEN_SECONDS = 604_800
REFRESH_SECONDS = 90 * 24 * 3600


def router(part: Part, client: Client) -> APIRouter:
    routes = APIRouter()

    @routes.get("/oauth2/authorize")
    async def authorize(request: Request) -> Response:
        return oauth.authorize(request, part, "Discord", client, list(USERS))

    @routes.post("/api/oauth2/token")
    async def token(request: Request) -> Response:
        try:
            form = await oauth.read_form(request)
            oauth.check_client(request, form, client)
            grant = oauth.granted(part, form)
        except TokenRefused as error:
            return oauth.refusal(error)
        return JSONResponse(
            oauth.issue(part, grant, lasts=TOKEN_SECONDS, refresh_lasts=REFRESH_SECONDS)
        )

    @routes.post("/api/oauth2/token/revoke")
    async def revoke(request: Request) -> Response:
        try:
            form = await oauth.read_form(request)
            oauth.check_client(request, form, client)
        except TokenRefused as error:
            return oauth.refusal(error)
        oauth.revoke(part, form.get("token", ""))
        return JSONResponse({})

    @routes.get("/api/users/@me")
    async def me(request: Request) -> Response:
        held = oauth.holder(request, part)
        if held is None or "identify" not in held["scope"].split():
            return JSONResponse({"message": "401: Unauthorized", "code": 0}, 401)
        login = held["login"]
        user_id, name = USERS[login]
        user: dict[str, Any] = {
            "id": user_id,
            "username": login,
            "global_name": name,
            "discriminator": "0",
            "avatar": None,
            "banner": None,
            "accent_color": None,
            "flags": 0,
            "public_flags": 0,
            "locale": "en-US",
            "mfa_enabled": True,
            "premium_type": 0,
        }
        if "email" in held["scope"].split():
            user |= {"email": f"{login}@example.com", "verified": True}
        return JSONResponse(user)

    return routes
