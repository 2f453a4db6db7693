"""The simulated Discord and Roblox refuse what the real ones refuse."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

BACK = "http://127.0.0.1:8080/v1/auth/callback"
VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
)
ENDS = {
    "discord": ("/discord/oauth2/authorize", "/discord/api/oauth2/token", "sasha"),
    "roblox": ("/roblox/oauth/v1/authorize", "/roblox/oauth/v1/token", "sasha_builds"),
}
WHO = {"discord": "/discord/api/users/@me", "roblox": "/roblox/oauth/v1/userinfo"}


def _question(provider: str, **changes: str) -> dict[str, str]:
    asked = {
        "client_id": "bloxtr8",
        "response_type": "code",
        "redirect_uri": BACK,
        "scope": "identify email" if provider == "discord" else "openid profile",
        "state": "s",
        "nonce": "n",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return asked | changes


async def _code(control: httpx.AsyncClient, provider: str, **changes: str) -> str:
    page, _, login = ENDS[provider]
    asked = _question(provider, login=login, **changes)
    back = urlsplit((await control.get(page, params=asked)).headers["Location"])
    answer = parse_qs(back.query)
    assert (f"{back.scheme}://{back.netloc}{back.path}", answer["state"]) == (BACK, ["s"])
    return answer["code"][0]


async def _token(
    control: httpx.AsyncClient, provider: str, end: str = "", **form: str
) -> httpx.Response:
    client = {"client_id": "bloxtr8", "client_secret": f"{provider}-secret"}
    return await control.post(ENDS[provider][1] + end, data=client | form)


async def _exchange(
    control: httpx.AsyncClient, provider: str, code: str, **changes: str
) -> httpx.Response:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": BACK,
        "code_verifier": VERIFIER,
    }
    return await _token(control, provider, **form | changes)


async def _tokens(control: httpx.AsyncClient, provider: str, **changes: str) -> Any:
    code = await _code(control, provider, **changes)
    return (await _exchange(control, provider, code)).json()


async def _who(control: httpx.AsyncClient, provider: str, access: str) -> httpx.Response:
    return await control.get(WHO[provider], headers={"Authorization": f"Bearer {access}"})


@pytest.mark.parametrize("provider", ENDS)
async def test_a_code_works_once(control: httpx.AsyncClient, provider: str) -> None:
    code = await _code(control, provider)
    assert (await _exchange(control, provider, code)).status_code == 200
    again = await _exchange(control, provider, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("provider", ENDS)
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"redirect_uri": "http://evil.example/"}, "invalid_grant"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "somebody"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_wrong_exchange_is_refused(
    control: httpx.AsyncClient, provider: str, changes: dict[str, str], error: str
) -> None:
    answer = await _exchange(control, provider, await _code(control, provider), **changes)
    assert answer.json()["error"] == error
    assert answer.status_code == (401 if error == "invalid_client" else 400)


@pytest.mark.parametrize("provider", ENDS)
async def test_a_code_lasts_a_minute(control: httpx.AsyncClient, provider: str) -> None:
    code = await _code(control, provider)
    await control.post(f"/{provider}/_sim/clock", json={"seconds": 62})
    assert (await _exchange(control, provider, code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("provider", ENDS)
async def test_only_a_form_is_taken(control: httpx.AsyncClient, provider: str) -> None:
    answer = await control.post(ENDS[provider][1], json={"grant_type": "authorization_code"})
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize("provider", ENDS)
async def test_the_page_offers_everybody_and_knows_its_client(
    control: httpx.AsyncClient, provider: str
) -> None:
    page, _, login = ENDS[provider]
    shown = await control.get(page, params=_question(provider))
    assert (shown.status_code, shown.text.count("<a href")) == (200, 4)
    assert f"login={login}" in shown.text
    foreign = await control.get(page, params=_question(provider, client_id="x", login=login))
    assert foreign.status_code == 400


@pytest.mark.parametrize("provider", ENDS)
async def test_refresh_tokens_work_once(control: httpx.AsyncClient, provider: str) -> None:
    first = await _tokens(control, provider)
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = await _token(control, provider, **refresh)
    assert second.json()["refresh_token"] != first["refresh_token"]
    assert (await _token(control, provider, **refresh)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("provider", ENDS)
async def test_a_revoked_token_is_worth_nothing(control: httpx.AsyncClient, provider: str) -> None:
    tokens = await _tokens(control, provider)
    assert (await _who(control, provider, tokens["access_token"])).status_code == 200
    revoked = await _token(control, provider, "/revoke", token=tokens["access_token"])
    assert revoked.status_code == 200
    assert (await _who(control, provider, tokens["access_token"])).status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert (await _token(control, provider, **refresh)).json()["error"] == "invalid_grant"


async def test_discord_says_who_it_is_and_the_address_only_when_asked_for(
    control: httpx.AsyncClient,
) -> None:
    full = await _tokens(control, "discord")
    me = (await _who(control, "discord", full["access_token"])).json()
    assert (me["id"], me["username"]) == ("100000000000000001", "sasha")
    assert (me["email"], me["verified"]) == ("sasha@example.com", True)
    bare = await _tokens(control, "discord", scope="identify")
    me = (await _who(control, "discord", bare["access_token"])).json()
    assert "email" not in me
    assert (await _who(control, "discord", "nonsense")).status_code == 401


async def test_roblox_signs_who_it_is(control: httpx.AsyncClient) -> None:
    tokens = await _tokens(control, "roblox")
    keys = KeySet.import_key_set((await control.get("/roblox/oauth/v1/certs")).json())
    token = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"])
    claims = token.claims
    assert (claims["sub"], claims["nonce"], claims["aud"]) == ("2001", "n", "bloxtr8")
    assert claims["iss"] == f"{control.base_url}/roblox/oauth/".replace("//roblox", "/roblox")
    assert claims["exp"] - claims["iat"] == 899
    assert "d" not in keys.as_dict()["keys"][0]
    user = (await _who(control, "roblox", tokens["access_token"])).json()
    assert (user["sub"], user["preferred_username"]) == ("2001", "sasha_builds")
    await control.post("/roblox/_sim/clock", json={"seconds": 900})
    assert (await _who(control, "roblox", tokens["access_token"])).status_code == 401


@pytest.mark.parametrize("changes", [{"code_challenge": ""}, {"code_challenge_method": "plain"}])
async def test_roblox_wants_pkce(control: httpx.AsyncClient, changes: dict[str, str]) -> None:
    asked = _question("roblox", login="sasha_builds", **changes)
    assert (await control.get(ENDS["roblox"][0], params=asked)).status_code == 400


async def test_a_game_changes_hands(control: httpx.AsyncClient) -> None:
    async def game(number: str) -> dict[str, Any]:
        found = await control.get("/roblox/games/v1/games", params={"universeIds": number})
        return dict(found.json()["data"][0])

    new = {"name": "New", "creator_type": "User", "creator_id": 2001, "visits": 12}
    number = (await control.post("/roblox/_sim/universes", json=new)).json()["id"]
    before = await game(number)
    assert (before["creator"]["id"], before["creator"]["name"]) == (2001, "sasha_builds")
    moved = {"creator_type": "Group", "creator_id": 5002}
    await control.post(f"/roblox/_sim/universes/{number}/transfer", json=moved)
    after = await game(number)
    assert (after["creator"]["id"], after["creator"]["type"]) == (5002, "Group")
    assert (after["id"], after["visits"]) == (before["id"], 12)
    page = (await control.get("/roblox/games/v2/groups/5002/games?limit=50")).json()
    assert [listed["id"] for listed in page["data"]] == [int(number)]
    developed = (await control.get(f"/roblox/develop/v1/universes/{number}")).json()
    assert (developed["creatorType"], developed["creatorTargetId"]) == ("Group", 5002)
    unknown = await control.post("/roblox/_sim/universes/1/transfer", json=moved)
    assert unknown.status_code == 404


async def test_a_group_changes_hands(control: httpx.AsyncClient) -> None:
    async def owner() -> int:
        group = (await control.get("/roblox/groups/v1/groups/5001")).json()
        return int(group["owner"]["userId"])

    assert await owner() == 2001
    await control.post("/roblox/_sim/groups/5001/owner", json={"user_id": 2002})
    assert await owner() == 2002
    roles = (await control.get("/roblox/groups/v2/users/2002/groups/roles")).json()["data"]
    assert [(role["group"]["id"], role["role"]["rank"]) for role in roles] == [
        (5001, 255),
        (5002, 255),
    ]
    assert (await control.get("/roblox/groups/v1/groups/77")).status_code == 400


async def test_lists_of_games_have_pages(control: httpx.AsyncClient) -> None:
    new = {"name": "New", "creator_type": "User", "creator_id": 2003}
    for _ in range(11):
        await control.post("/roblox/_sim/universes", json=new)
    path = "/roblox/games/v2/users/2003/games"
    first = (await control.get(path)).json()
    rest = (await control.get(path, params={"cursor": first["nextPageCursor"]})).json()
    assert (len(first["data"]), len(rest["data"]), rest["nextPageCursor"]) == (10, 1, None)
    assert (await control.get(path, params={"limit": 7})).status_code == 400


@pytest.mark.parametrize("ids", ["", ",".join(map(str, range(51))), "9001,x"])
@pytest.mark.parametrize("path", ["games/v1/games", "thumbnails/v1/games/icons"])
async def test_a_batch_is_1_to_50_numbers(control: httpx.AsyncClient, path: str, ids: str) -> None:
    answer = await control.get(f"/roblox/{path}", params={"universeIds": ids})
    assert answer.status_code == 400


async def test_icons_are_pictures(control: httpx.AsyncClient) -> None:
    icons = (await control.get("/roblox/thumbnails/v1/games/icons?universeIds=9001,9002")).json()
    assert [icon["targetId"] for icon in icons["data"]] == [9001, 9002]
    picture = await control.get(icons["data"][0]["imageUrl"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG\r\n\x1a\n")


async def test_a_reset_is_one_simulators_own(control: httpx.AsyncClient) -> None:
    tokens = await _tokens(control, "discord")
    new = {"name": "New", "creator_type": "User", "creator_id": 2001}
    number = (await control.post("/roblox/_sim/universes", json=new)).json()["id"]
    await control.post("/roblox/_sim/rules", json={"path": "/games", "action": "fail"})
    await control.post("/roblox/_sim/reset")
    found = await control.get("/roblox/games/v1/games", params={"universeIds": number})
    assert (found.status_code, found.json()) == (200, {"data": []})
    assert (await _who(control, "discord", tokens["access_token"])).status_code == 200
