"""A paid game is watched until its buyer has it; that is said once."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from identity import watching
from shared.events.escrow import EscrowFunded
from shared.money import Currency, Rail
from shared.testing import Clock, Database


class Game:
    """A simulated game of its own, which may change hands."""

    def __init__(self, web: httpx.AsyncClient) -> None:
        self.web = web
        self.id = ""

    async def make(self) -> None:
        seller = {"name": "Watched", "creator_type": "User", "creator_id": 2001}
        self.id = (await self.web.post("/roblox/_sim/universes", json=seller)).json()["id"]

    async def give(self, creator_type: str, creator_id: int) -> None:
        owner = {"creator_type": creator_type, "creator_id": creator_id}
        moved = await self.web.post(f"/roblox/_sim/universes/{self.id}/transfer", json=owner)
        moved.raise_for_status()


@pytest.fixture
async def game(web: httpx.AsyncClient) -> Game:
    made = Game(web)
    await made.make()
    return made


@pytest.fixture
async def paid(browsers: Any, game: Game) -> EscrowFunded:
    """The buyer, known on Roblox as 2002, has paid for the game."""
    browser = browsers()
    buyer = await browser.sign_in("blair")
    await browser.link("blair_plays")
    offer_id = uuid4()
    return EscrowFunded(
        version=2,
        escrow_id=uuid4(),
        contract_id=uuid4(),
        offer_id=offer_id,
        root_offer_id=offer_id,
        listing_id=uuid4(),
        game_id=game.id,
        seller_id=uuid4(),
        buyer_id=UUID(buyer["id"]),
        amount=450_000,
        currency=Currency.USD,
        status="FUNDS_HELD",
        rail=Rail.STRIPE,
        rail_reference="pi_1",
        funded_at=datetime(2026, 11, 1, tzinfo=UTC),
    )


async def _said(database: Database) -> list[dict[str, Any]]:
    rows = await database.rows(
        "SELECT payload FROM outbox WHERE topic = 'asset.transfer_observed' ORDER BY id"
    )
    return [json.loads(row["payload"]) for row in rows]


async def _look(database: Database, runner: Any) -> None:
    await database.rows("UPDATE jobs SET run_at = clock() WHERE status = 'PENDING'")
    while await runner.run_one():
        pass


@pytest.mark.parametrize(("creator_type", "creator_id"), [("User", 2002), ("Group", 5002)])
async def test_a_game_seen_with_the_buyer_is_said_once(
    database: Database,
    runner: Any,
    game: Game,
    paid: EscrowFunded,
    creator_type: str,
    creator_id: int,
) -> None:
    for _ in range(2):
        async with database.sessions.begin() as session:
            await watching.begin(session, paid)
    await _look(database, runner)
    await game.give("User", 2003)
    await _look(database, runner)
    assert await _said(database) == []

    await game.give(creator_type, creator_id)
    for _ in range(2):
        await _look(database, runner)
    [said] = await _said(database)
    assert (said["escrow_id"], said["game_id"]) == (str(paid.escrow_id), game.id)
    assert (said["creator_type"], said["creator_id"]) == (creator_type, str(creator_id))


async def test_an_outage_of_roblox_is_waited_out(
    database: Database, runner: Any, game: Game, paid: EscrowFunded, roblox_fails: Any
) -> None:
    await game.give("User", 2002)
    async with database.sessions.begin() as session:
        await watching.begin(session, paid)
    await roblox_fails("/games/*", 503, times=1)
    await _look(database, runner)
    await _look(database, runner)
    assert len(await _said(database)) == 1


async def test_a_trade_that_is_over_is_no_longer_watched(
    database: Database, runner: Any, game: Game, paid: EscrowFunded
) -> None:
    async with database.sessions.begin() as session:
        await watching.begin(session, paid)
        await watching.end(session, paid.escrow_id)
    await game.give("User", 2002)
    await _look(database, runner)
    assert await _said(database) == []


async def test_a_game_that_never_moves_is_watched_for_ninety_days(
    database: Database, runner: Any, clock: Clock, paid: EscrowFunded
) -> None:
    async with database.sessions.begin() as session:
        await watching.begin(session, paid)
    await clock.advance(timedelta(days=89))
    await _look(database, runner)
    assert (await database.one("SELECT status FROM jobs"))["status"] == "PENDING"
    await clock.advance(timedelta(days=91))
    await _look(database, runner)
    assert [row["status"] for row in await database.rows("SELECT status FROM jobs")] == [
        "COMPLETED"
    ]
    assert await _said(database) == []
