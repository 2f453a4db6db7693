"""The authorization page and the checks of its codes, as both providers do them."""

import base64
import hashlib
import html
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from simulators.state import State


@dataclass(frozen=True)
class Client:
    id: str
    secret: str


class TokenRefused(Exception):
    """An OAuth error, by its standard name."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status


def refusal(error: TokenRefused) -> JSONResponse:
    return JSONResponse(
        {"error": error.error, "error_description": str(error)}, status_code=error.status
    )


def authorize(
    request: Request, state: State, provider: str, client: Client, logins: list[str]
) -> Response:
    """With `login=…` a redirect that carries a code, else a page to choose a user."""
    asked = dict(request.query_params)
    redirect_uri = asked.get("redirect_uri", "")
    if asked.get("client_id") != client.id or asked.get("response_type") != "code":
        return HTMLResponse("Unknown client or response type.", 400)
    if urlsplit(redirect_uri).scheme not in {"http", "https"}:
        return HTMLResponse("The redirect_uri is missing.", 400)
    login = asked.pop("login", None)
    if login not in logins:
        links = "".join(
            f'<p><a href="?{html.escape(urlencode(asked | {"login": name}))}">Sign in as {name}</a>'
            for name in logins
        )
        return HTMLResponse(f"<!doctype html><title>{provider}</title><h1>{provider}</h1>{links}")
    code = secrets.token_urlsafe(24)
    state.data[provider]["codes"][code] = {
        "login": login,
        "redirect_uri": redirect_uri,
        "scope": asked.get("scope", ""),
        "nonce": asked.get("nonce"),
        "challenge": asked.get("code_challenge"),
        "challenge_method": asked.get("code_challenge_method"),
        "expires_at": state.now() + 60,
    }
    state.save()
    back = {"code": code} | ({"state": asked["state"]} if "state" in asked else {})
    return RedirectResponse(f"{redirect_uri}?{urlencode(back)}", 302)


def check_client(request: Request, form: dict[str, str], client: Client) -> None:
    """Basic or form credentials.

    Raises:
        TokenRefused: they are not the client's.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        name, _, secret = base64.b64decode(value).decode().partition(":")
    else:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
    if name != client.id or not secrets.compare_digest(secret, client.secret):
        raise TokenRefused("invalid_client", "Unknown client or wrong secret.", 401)


def redeem(state: State, provider: str, form: dict[str, str]) -> dict[str, Any]:
    """The grant behind a code, which works once, for a minute, at the same redirect_uri.

    Raises:
        TokenRefused: it is not good (any more), or the PKCE verifier does not fit.
    """
    grant: dict[str, Any] | None = state.data[provider]["codes"].pop(form.get("code", ""), None)
    state.save()
    if grant is None or grant["expires_at"] < state.now():
        raise TokenRefused("invalid_grant", "The code is unknown, used or expired.")
    if grant["redirect_uri"] != form.get("redirect_uri"):
        raise TokenRefused("invalid_grant", "The redirect_uri is not the one of the code.")
    if grant["challenge"]:
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        fitting = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if grant["challenge_method"] != "S256" or fitting != grant["challenge"]:
            raise TokenRefused("invalid_grant", "The code_verifier does not fit.")
    return grant


def bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")
