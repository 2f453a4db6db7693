"""The simulated Discord and Roblox refuse what the real ones refuse."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

BACK = "http://127.0.0.1:8080/v1/auth/callback"
VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
)
ENDS = {
    "discord": ("/discord/oauth2/authorize", "/discord/api/oauth2/token", "sasha"),
    "roblox": ("/roblox/oauth/v1/authorize", "/roblox/oauth/v1/token", "sasha_builds"),
}


async def _code(control: httpx.AsyncClient, provider: str) -> str:
    page, _, login = ENDS[provider]
    answer = await control.get(
        page,
        params={
            "client_id": "bloxtr8",
            "response_type": "code",
            "redirect_uri": BACK,
            "scope": "identify email" if provider == "discord" else "openid profile",
            "state": "s",
            "nonce": "n",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "login": login,
        },
    )
    back = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert back["state"] == ["s"]
    return back["code"][0]


async def _exchange(
    control: httpx.AsyncClient, provider: str, code: str, **changes: str
) -> httpx.Response:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": BACK,
        "code_verifier": VERIFIER,
        "client_id": "bloxtr8",
        "client_secret": f"{provider}-secret",
    }
    return await control.post(ENDS[provider][1], data=form | changes)


@pytest.mark.parametrize("provider", ENDS)
async def test_a_code_works_once(control: httpx.AsyncClient, provider: str) -> None:
    code = await _code(control, provider)
    assert (await _exchange(control, provider, code)).status_code == 200
    assert (await _exchange(control, provider, code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("provider", ENDS)
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"redirect_uri": "http://evil.example/"}, "invalid_grant"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant"),
    ],
)
async def test_a_wrong_exchange_is_refused(
    control: httpx.AsyncClient, provider: str, changes: dict[str, str], error: str
) -> None:
    code = await _code(control, provider)
    answer = await _exchange(control, provider, code, **changes)
    assert answer.json()["error"].startswith(error)


async def test_roblox_refresh_tokens_rotate(control: httpx.AsyncClient) -> None:
    tokens = (await _exchange(control, "roblox", await _code(control, "roblox"))).json()
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_id": "bloxtr8",
        "client_secret": "roblox-secret",
    }
    assert (await control.post(ENDS["roblox"][1], data=refresh)).status_code == 200
    assert (await control.post(ENDS["roblox"][1], data=refresh)).status_code == 400


async def test_a_game_changes_hands(control: httpx.AsyncClient) -> None:
    async def creator(game_id: str) -> dict[str, Any]:
        found = await control.get("/roblox/games/v1/games", params={"universeIds": game_id})
        return dict(found.json()["data"][0]["creator"])

    made = await control.post(
        "/roblox/_sim/universes",
        json={"name": "New", "creator_type": "User", "creator_id": 2001},
    )
    game_id = made.json()["id"]
    assert (await creator(game_id))["id"] == 2001
    moved = {"creator_type": "Group", "creator_id": 5002}
    await control.post(f"/roblox/_sim/universes/{game_id}/transfer", json=moved)
    assert (await creator(game_id))["type"] == "Group"
    too_many = ",".join(str(n) for n in range(51))
    refused = await control.get("/roblox/games/v1/games", params={"universeIds": too_many})
    assert refused.status_code == 400
