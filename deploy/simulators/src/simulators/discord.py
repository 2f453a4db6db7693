"""Discord's OAuth2 and `/users/@me`."""

import secrets
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from simulators import oauth
from simulators.oauth import Client, TokenRefused
from simulators.state import State

USERS = {
    "sasha": ("100000000000000001", "Sasha"),
    "blair": ("100000000000000002", "Blair"),
    "moss": ("100000000000000003", "Moss"),
    "rin": ("100000000000000004", "Rin"),
}
TOKEN_SECONDS = 604_800


def router(state: State, client: Client) -> APIRouter:
    routes = APIRouter()

    @routes.get("/oauth2/authorize")
    async def authorize(request: Request) -> Response:
        return oauth.authorize(request, state, "discord", client, list(USERS))

    @routes.post("/api/oauth2/token")
    async def token(request: Request) -> Response:
        if "application/x-www-form-urlencoded" not in request.headers.get("content-type", ""):
            return JSONResponse({"error": "invalid_request"}, 400)
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            oauth.check_client(request, form, client)
            if form.get("grant_type") != "authorization_code":
                raise TokenRefused("unsupported_grant_type", "Only authorization_code.")
            grant = oauth.redeem(state, "discord", form)
        except TokenRefused as error:
            return oauth.refusal(error)
        access = secrets.token_urlsafe(24)
        state.data["discord"]["tokens"][access] = {"login": grant["login"], "scope": grant["scope"]}
        state.save()
        return JSONResponse(
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": TOKEN_SECONDS,
                "refresh_token": secrets.token_urlsafe(24),
                "scope": grant["scope"],
            }
        )

    @routes.get("/api/users/@me")
    async def me(request: Request) -> Response:
        held = state.data["discord"]["tokens"].get(oauth.bearer(request))
        if held is None or "identify" not in held["scope"].split():
            return JSONResponse({"message": "401: Unauthorized", "code": 0}, 401)
        user_id, name = USERS[held["login"]]
        user: dict[str, Any] = {
            "id": user_id,
            "username": held["login"],
            "global_name": name,
            "discriminator": "0",
            "avatar": None,
        }
        if "email" in held["scope"].split():
            user |= {"email": f"{held['login']}@example.com", "verified": True}
        return JSONResponse(user)

    return routes
