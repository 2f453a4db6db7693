"""Proving that a game is one's own; an outage of Roblox proves nothing either way."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from identity import use_cases
from identity.jobs import VERIFICATION_EXPIRY
from shared.deadlines import DeadlineTicker
from shared.testing import Clock, Database


@pytest.fixture
async def seller(browsers: Any) -> Any:
    browser = browsers()
    browser.user = await browser.sign_in("sasha")
    await browser.link("sasha_builds")
    return browser


async def _ask(browser: Any, game_id: str) -> dict[str, Any]:
    answer = await browser.http.post("/v1/verifications", json={"game_id": game_id})
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


async def _read(browser: Any, verification_id: str) -> dict[str, Any]:
    row: dict[str, Any] = (await browser.http.get(f"/v1/verifications/{verification_id}")).json()
    return row


async def _facts(database: Database) -> list[tuple[str, dict[str, Any]]]:
    rows = await database.rows(
        "SELECT topic, payload FROM outbox WHERE topic LIKE 'asset.%' ORDER BY id"
    )
    return [(row["topic"], json.loads(row["payload"])) for row in rows]


@pytest.mark.parametrize(("game_id", "creator_type"), [("9001", "User"), ("9002", "Group")])
async def test_the_creator_and_the_owner_of_the_creating_group_own_the_game(
    seller: Any, runner: Any, database: Database, game_id: str, creator_type: str
) -> None:
    asked = await _ask(seller, game_id)
    assert asked["verification_status"] == "PENDING"
    assert await runner.run_one()
    row = await _read(seller, asked["id"])
    assert (row["verification_status"], row["ownership_type"]) == ("VERIFIED", "OWNER")
    [(topic, said)] = await _facts(database)
    assert (topic, said["game"]["creator_type"]) == ("asset.verified", creator_type)
    assert said["game"]["thumbnail_url"].endswith(f"/{game_id}.png")
    assert (said["user_id"], said["game_id"]) == (seller.user["id"], game_id)


@pytest.mark.parametrize("game_id", ["9004", "123456789"])
async def test_somebody_elses_game_and_no_game_fail(
    seller: Any, runner: Any, database: Database, game_id: str
) -> None:
    asked = await _ask(seller, game_id)
    await runner.run_one()
    row = await _read(seller, asked["id"])
    assert (row["verification_status"], bool(row["reason"])) == ("FAILED", True)
    assert [topic for topic, _ in await _facts(database)] == ["asset.verification_failed"]


@pytest.mark.parametrize("status", [429, 503])
async def test_an_outage_leaves_it_pending_and_it_is_tried_again(
    seller: Any, runner: Any, database: Database, clock: Clock, roblox_fails: Any, status: int
) -> None:
    await roblox_fails("/games/v1/games", status, times=1, **{"Retry-After": "120"})
    asked = await _ask(seller, "9001")
    await runner.run_one()
    assert (await _read(seller, asked["id"]))["verification_status"] == "PENDING"
    job = await database.one("SELECT status, attempts FROM jobs")
    assert job == {"status": "PENDING", "attempts": 0}
    await clock.advance(timedelta(seconds=100))
    assert not await runner.run_one()
    await clock.advance(timedelta(seconds=125))
    assert await runner.run_one()
    assert (await _read(seller, asked["id"]))["verification_status"] == "VERIFIED"


async def test_a_proof_lasts_a_day(
    seller: Any, runner: Any, database: Database, clock: Clock
) -> None:
    asked = await _ask(seller, "9001")
    await runner.run_one()
    ticker = DeadlineTicker(database.sessions, {use_cases.VERIFICATION_EXPIRY: VERIFICATION_EXPIRY})
    assert await ticker.tick() == 0
    await clock.advance(timedelta(hours=24, seconds=1))
    assert await ticker.tick() == 1
    await clock.restore()
    assert (await _read(seller, asked["id"]))["verification_status"] == "EXPIRED"
    again = await _ask(seller, "9001")
    assert (again["id"], again["verification_status"]) == (asked["id"], "PENDING")


async def test_only_the_newest_question_is_answered(
    seller: Any, runner: Any, database: Database
) -> None:
    await _ask(seller, "9001")
    await _ask(seller, "9001")
    while await runner.run_one():
        pass
    [(_, said)] = await _facts(database)
    assert said["version"] == 3


async def test_a_trade_has_the_owner_checked_again(
    seller: Any, runner: Any, database: Database
) -> None:
    asked = await _ask(seller, "9001")
    await runner.run_one()
    async with database.sessions.begin() as session:
        await use_cases.ask_again(session, (await _owner(database)), "9001")
        await use_cases.ask_again(session, uuid4(), "9001")
    await runner.run_one()
    assert (await _read(seller, asked["id"]))["verification_status"] == "VERIFIED"
    assert [said["version"] for _, said in await _facts(database)] == [2, 4]


async def _owner(database: Database) -> Any:
    return (await database.one("SELECT id FROM users"))["id"]


async def test_without_roblox_nothing_is_verified(browsers: Any, database: Database) -> None:
    browser = browsers()
    await browser.sign_in("moss")
    refused = await browser.http.post("/v1/verifications", json={"game_id": "9001"})
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[-1]) == (
        403,
        "roblox-not-linked",
    )
    assert await database.rows("SELECT 1 FROM jobs") == []


@pytest.mark.parametrize("body", [{}, {"game_id": 9001}, {"game_id": "../1"}, {"game": "9001"}])
async def test_bad_questions_are_refused(seller: Any, body: dict[str, Any]) -> None:
    assert (await seller.http.post("/v1/verifications", json=body)).status_code == 422


async def test_others_do_not_see_ones_checks(seller: Any, browsers: Any) -> None:
    asked = await _ask(seller, "9001")
    other = browsers()
    await other.sign_in("moss")
    assert (await other.http.get(f"/v1/verifications/{asked['id']}")).status_code == 404
    assert (await other.http.get("/v1/verifications")).json()["items"] == []


async def test_my_games_are_mine_and_my_groups(seller: Any, roblox_fails: Any) -> None:
    names = {game["game_id"] for game in (await seller.http.get("/v1/games")).json()["items"]}
    assert {"9001", "9002"} <= names
    assert "9004" not in names
    await roblox_fails("/games", 503)
    down = await seller.http.get("/v1/games")
    assert (down.status_code, down.headers["Retry-After"]) == (503, "5")
