"""The authorization page and the checks of its codes, as both providers do them."""

import base64
import hashlib
import html
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from simulators.state import Part, Record

CODE_SECONDS = 60
CODE, ACCESS, REFRESH = "code", "access_token", "refresh_token"


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
    request: Request, part: Part, title: str, client: Client, logins: list[str]
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
        return HTMLResponse(f"<!doctype html><title>{title}</title><h1>{title}</h1>{links}")
    code = secrets.token_urlsafe(24)
    grant = {
        "login": login,
        "redirect_uri": redirect_uri,
        "scope": asked.get("scope", ""),
        "nonce": asked.get("nonce"),
        "challenge": asked.get("code_challenge"),
        "challenge_method": asked.get("code_challenge_method"),
        "expires_at": part.now() + CODE_SECONDS,
    }
    part.put(CODE, code, grant)
    part.save()
    back = {"code": code} | ({"state": asked["state"]} if "state" in asked else {})
    joint = "&" if urlsplit(redirect_uri).query else "?"
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(back)}", 302)


def check_client(request: Request, form: dict[str, str], client: Client) -> None:
    """Basic or form credentials.

    Raises:
        TokenRefused: they are not the client's.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with suppress(ValueError):
            value = base64.b64decode(value).decode()
        name, _, secret = value.partition(":")
    else:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
    if name != client.id or not secrets.compare_digest(secret.encode(), client.secret.encode()):
        raise TokenRefused("invalid_client", "Unknown client or wrong secret.", 401)


def redeem(part: Part, form: dict[str, str]) -> Record:
    """The grant behind a code, which works once, for a minute, at the same redirect_uri.

    Raises:
        TokenRefused: it is not good (any more), or the PKCE verifier does not fit.
    """
    grant = part.pop(CODE, form.get("code", ""))
    part.save()
    if grant is None or grant["expires_at"] < part.now():
        raise TokenRefused("invalid_grant", "The code is unknown, used or expired.")
    if grant["redirect_uri"] != form.get("redirect_uri"):
        raise TokenRefused("invalid_grant", "The redirect_uri is not the one of the code.")
    if grant["challenge"]:
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        fitting = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if grant["challenge_method"] != "S256" or fitting != grant["challenge"]:
            raise TokenRefused("invalid_grant", "The code_verifier does not fit.")
    return {"login": grant["login"], "scope": grant["scope"], "nonce": grant["nonce"]}


def granted(part: Part, form: dict[str, str]) -> Record:
    """The grant behind a code or a refresh token; each works once.

    Raises:
        TokenRefused: it is not good (any more).
    """
    match form.get("grant_type"):
        case "authorization_code":
            return redeem(part, form)
        case "refresh_token":
            grant = part.pop(REFRESH, form.get("refresh_token", ""))
            part.save()
            if grant is None or grant["expires_at"] < part.now():
                raise TokenRefused("invalid_grant", "The refresh token is unknown or used.")
            return grant
        case _:
            raise TokenRefused("unsupported_grant_type", "Unknown grant.")


def issue(part: Part, grant: Record, *, lasts: int, refresh_lasts: int) -> dict[str, Any]:
    """A token answer; both tokens are kept, for so many seconds by the simulated clock."""
    access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    part.put(ACCESS, access, grant | {"expires_at": part.now() + lasts, "refresh": refresh})
    part.put(REFRESH, refresh, grant | {"expires_at": part.now() + refresh_lasts})
    part.save()
    return {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": lasts,
        "refresh_token": refresh,
        "scope": grant["scope"],
    }


def revoke(part: Part, token: str) -> None:
    """End a token; with an access token also the refresh token that came with it."""
    held = part.pop(ACCESS, token)
    part.pop(REFRESH, held["refresh"] if held else token)
    part.save()


def holder(request: Request, part: Part) -> Record | None:
    """Whose access token the request carries."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    held = part.get(ACCESS, token) if scheme.lower() == "bearer" else None
    return held if held is not None and held["expires_at"] > part.now() else None


async def read_form(request: Request) -> dict[str, str]:
    """The form of a token request, which must be one.

    Raises:
        TokenRefused: it is anything else.
    """
    if "application/x-www-form-urlencoded" not in request.headers.get("content-type", ""):
        raise TokenRefused("invalid_request", "Send a form.")
    return {name: str(value) for name, value in (await request.form()).items()}
