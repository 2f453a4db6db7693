"""Signing in and linking: bound to one browser, once, and never merging two people."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from identity import repository, tokens
from identity.secrets_at_rest import Vault
from shared.testing import Clock, Database, eventually


async def test_a_sign_in_makes_a_user_and_says_so_once(browsers: Any, database: Database) -> None:
    first, second = browsers(), browsers()
    user = await first.sign_in("sasha")
    assert (user["name"], user["email"], user["kyc_tier"]) == (
        "Sasha",
        "sasha@example.com",
        "TIER_0",
    )
    assert (await second.sign_in("sasha"))["id"] == user["id"]
    [event] = await database.rows("SELECT topic, key, payload FROM outbox")
    assert (event["topic"], event["key"]) == ("user.updated", user["id"])
    said = json.loads(event["payload"])
    assert (said["discord_id"], said["roblox_id"]) == ("100000000000000001", None)
    assert "email" not in said


async def test_linking_roblox_raises_the_tier(browsers: Any, database: Database) -> None:
    browser = browsers()
    await browser.sign_in("sasha")
    linked = (await browser.link("sasha_builds")).json()["user"]
    assert (linked["roblox_id"], linked["kyc_tier"], linked["kyc_verified"]) == (
        "2001",
        "TIER_1",
        True,
    )
    said = [json.loads(row["payload"]) for row in await database.rows("SELECT payload FROM outbox")]
    assert [(event["version"], event["kyc_tier"]) for event in said] == [
        (1, "TIER_0"),
        (2, "TIER_1"),
    ]


async def test_a_linked_account_is_nobody_elses(browsers: Any, database: Database) -> None:
    owner, thief = browsers(), browsers()
    await owner.sign_in("sasha")
    await owner.link("sasha_builds")
    await thief.sign_in("moss")
    before = await database.rows("SELECT * FROM accounts ORDER BY id")
    refused = await thief.link("sasha_builds")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/account-taken")
    assert await database.rows("SELECT * FROM accounts ORDER BY id") == before
    assert (await thief.http.get("/v1/me")).json()["kyc_tier"] == "TIER_0"


async def test_roblox_is_linked_by_a_signed_in_user_only(browsers: Any) -> None:
    assert (await browsers().http.post("/v1/auth/roblox/start", json={})).status_code == 401


async def test_a_way_back_works_once_in_its_own_browser(
    browsers: Any, database: Database, clock: Clock
) -> None:
    browser, other = browsers(), browsers()
    way_back = await browser.go("discord", "sasha")
    assert (await other.http.get(way_back)).status_code == 422
    assert (await browser.http.get(way_back)).status_code == 200
    assert (await browser.http.get(way_back)).status_code == 422
    late = await browser.go("discord", "sasha")
    await clock.advance(timedelta(minutes=10, seconds=1))
    refused = await browser.http.get(late)
    assert refused.json()["type"].endswith("/sign-in-refused")
    assert len(await database.rows("SELECT 1 FROM sessions")) == 1


@pytest.mark.parametrize("change", ["state", "code"])
async def test_a_made_up_way_back_is_refused(
    browsers: Any, database: Database, change: str
) -> None:
    browser = browsers()
    way_back = httpx.URL(await browser.go("discord", "sasha")).copy_set_param(change, "x" * 43)
    assert (await browser.http.get(way_back)).status_code == 422
    assert await database.rows("SELECT 1 FROM users") == []


async def test_an_address_that_exists_is_not_merged(browsers: Any, database: Database) -> None:
    browser = browsers()
    await browser.sign_in("sasha")
    await database.rows("UPDATE accounts SET account_id = 'another'")
    refused = await browser.http.get(await browser.go("discord", "sasha"))
    assert refused.json()["type"].endswith("/email-taken")
    assert len(await database.rows("SELECT 1 FROM users")) == 1


async def test_an_access_token_says_who_and_is_verified_by_the_published_keys(
    browsers: Any, settings: Any
) -> None:
    browser = browsers()
    user = await browser.sign_in("sasha")
    published = (await browser.http.get("/.well-known/jwks.json")).json()
    assert "d" not in published["keys"][0]
    token = (await browser.token()).json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 600)
    decoded = jwt.decode(token["access_token"], KeySet.import_key_set(published), ["ES256"])
    assert decoded.header["typ"] == "at+jwt"
    claims = decoded.claims
    assert (claims["sub"], claims["aud"], claims["iss"]) == (
        user["id"],
        "bloxtr8-api",
        settings.jwt_issuer,
    )
    assert claims["exp"] - claims["iat"] == 600


async def test_a_revoked_session_buys_nothing(browsers: Any) -> None:
    browser, other = browsers(), browsers()
    await browser.sign_in("sasha")
    await other.sign_in("moss")
    [mine] = (await browser.http.get("/v1/sessions")).json()["items"]
    assert (await other.http.delete(f"/v1/sessions/{mine['id']}")).status_code == 404
    assert (await browser.token()).status_code == 200
    assert (await browser.http.delete(f"/v1/sessions/{mine['id']}")).status_code == 204
    assert (await browser.token()).status_code == 401


async def test_signing_out_ends_this_session(browsers: Any) -> None:
    browser = browsers()
    await browser.sign_in("sasha")
    assert (await browser.http.post("/v1/auth/sign-out")).status_code == 204
    assert (await browser.token()).status_code == 401


async def test_a_session_ends_after_thirty_idle_days(browsers: Any, clock: Clock) -> None:
    browser = browsers()
    await browser.sign_in("sasha")
    await clock.advance(timedelta(days=29))
    assert (await browser.token()).status_code == 200
    await clock.advance(timedelta(days=60))
    assert (await browser.token()).status_code == 401


async def test_secrets_do_not_lie_readable_in_rows(browsers: Any, database: Database) -> None:
    browser = browsers()
    await browser.sign_in("sasha")
    session = await database.one("SELECT * FROM sessions")
    assert browser.session_token.encode() not in str(session).encode()
    key = await database.one("SELECT * FROM signing_keys")
    assert b"PRIVATE" not in key["private_key"]
    account = await database.one("SELECT refresh_token FROM accounts")
    assert len(account["refresh_token"]) == 12 + 32 + 16


async def test_starts_are_limited_for_an_address(browsers: Any, settings: Any) -> None:
    browser = browsers()
    for _ in range(settings.sign_in_starts_per_minute):
        assert (await browser.http.post("/v1/auth/discord/start", json={})).status_code == 200
    refused = await browser.http.post("/v1/auth/discord/start", json={})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


async def test_first_keys_made_at_once_are_one(database: Database) -> None:
    vault = Vault("k" * 32)

    async def make() -> str:
        async with database.sessions.begin() as session:
            return (await tokens.published_keys(session, vault))[0].kid

    async def all_wait() -> None:
        waiting = await database.one(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
        )
        assert waiting == {"count": 8}

    async with database.sessions.begin() as first:
        await repository.lock_signing_keys(first)
        made = [asyncio.create_task(make()) for _ in range(8)]
        await eventually(all_wait)
    assert len(set(await asyncio.gather(*made))) == 1


async def test_a_new_key_is_published_ten_minutes_before_it_signs(
    database: Database, clock: Clock
) -> None:
    vault = Vault("k" * 32)

    async def published() -> list[str]:
        async with database.sessions.begin() as session:
            return [key.kid for key in await tokens.published_keys(session, vault)]

    [old] = await published()
    await clock.advance(timedelta(days=31))
    new, kept = await published()
    assert (kept, new != old) == (old, True)
    [row] = await database.rows(
        "SELECT signs_from - created_at AS wait FROM signing_keys WHERE kid = $1", new
    )
    assert row["wait"] >= timedelta(minutes=9, seconds=59)
