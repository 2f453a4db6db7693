"""Roblox's OpenID Connect: PKCE, signed id tokens, refresh tokens that work once."""

from typing import Any

from fastapi import APIRouter, Request
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.responses import JSONResponse, Response

from simulators import oauth
from simulators.oauth import Client, TokenRefused
from simulators.roblox.world import DISPLAY_NAMES, USERS
from simulators.state import Part, Record

ACCESS_SECONDS = 899
REFRESH_SECONDS = 90 * 24 * 3600
_KEY_ID = "roblox-sim"


def _key(part: Part) -> ECKey:
    """The signing key; it outlives the process, as what it has signed does."""
    kept = part.get("signing_key", _KEY_ID)
    if kept is None:
        made = ECKey.generate_key("P-256", {"kid": _KEY_ID})
        kept = part.put("signing_key", _KEY_ID, dict(made.as_dict(private=True)))
        part.save()
    return ECKey.import_key(kept)


def router(part: Part, client: Client, base: str) -> APIRouter:
    routes = APIRouter(prefix="/oauth")

    @routes.get("/.well-known/openid-configuration")
    async def configuration() -> dict[str, Any]:
        return {
            "issuer": f"{base}/",
            "authorization_endpoint": f"{base}/v1/authorize",
            "token_endpoint": f"{base}/v1/token",
            "revocation_endpoint": f"{base}/v1/token/revoke",
            "userinfo_endpoint": f"{base}/v1/userinfo",
            "jwks_uri": f"{base}/v1/certs",
            "scopes_supported": ["openid", "profile"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
        }

    @routes.get("/v1/certs")
    async def certs() -> dict[str, Any]:
        return {"keys": [{**_key(part).as_dict(private=False), "alg": "ES256", "use": "sig"}]}

    @routes.get("/v1/authorize")
    async def authorize(request: Request) -> Response:
        asked = request.query_params
        if not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            return JSONResponse({"error": "invalid_request"}, 400)
        return oauth.authorize(request, part, "Roblox", client, list(USERS))

    @routes.post("/v1/token")
    async def token(request: Request) -> Response:
        try:
            form = await oauth.read_form(request)
            oauth.check_client(request, form, client)
            grant = oauth.granted(part, form)
        except TokenRefused as error:
            return oauth.refusal(error)
        issued = oauth.issue(part, grant, lasts=ACCESS_SECONDS, refresh_lasts=REFRESH_SECONDS)
        if "openid" in grant["scope"].split():
            claims = _claims(grant) | {
                "iss": f"{base}/",
                "aud": client.id,
                "nonce": grant["nonce"],
                "iat": part.now(),
                "exp": part.now() + ACCESS_SECONDS,
            }
            head = {"alg": "ES256", "kid": _KEY_ID}
            issued["id_token"] = jwt.encode(head, claims, _key(part), algorithms=["ES256"])
        return JSONResponse(issued)

    @routes.post("/v1/token/revoke")
    async def revoke(request: Request) -> Response:
        try:
            form = await oauth.read_form(request)
            oauth.check_client(request, form, client)
        except TokenRefused as error:
            return oauth.refusal(error)
        oauth.revoke(part, form.get("token", ""))
        return Response(status_code=200)

    @routes.get("/v1/userinfo")
    async def userinfo(request: Request) -> Response:
        held = oauth.holder(request, part)
        if held is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        return JSONResponse(_claims(held))

    return routes


def _claims(grant: Record) -> dict[str, Any]:
    """The user id alone, or with the scope `profile` the whole card."""
    user_id = USERS[grant["login"]]
    claims: dict[str, Any] = {"sub": str(user_id)}
    if "profile" in grant["scope"].split():
        claims |= {
            "name": DISPLAY_NAMES[user_id],
            "nickname": DISPLAY_NAMES[user_id],
            "preferred_username": grant["login"],
            "created_at": 1_500_000_000,
            "profile": f"https://www.roblox.com/users/{user_id}/profile",
            "picture": None,
        }
    return claims
