"""Facts of other services, in any order and more than once, lead to the same rows."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from listings.use_cases import deals, parties
from listings.use_cases.deals import End
from shared.events.cards import GameOwnershipType, GameSnapshot, KycTier, VerificationMethod
from shared.events.identity import AssetVerificationFailed, AssetVerified, UserUpdated
from shared.testing import Database

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
USER = UUID(int=77)
SNAPSHOT = GameSnapshot(
    game_id="9001",
    game_name="Skyline",
    creator_id="2001",
    creator_type="User",
    taken_at=NOW,
)


def _user(version: int) -> UserUpdated:
    return UserUpdated(
        version=version,
        user_id=USER,
        name=f"name {version}",
        roblox_id="2001",
        roblox_name="sasha_builds",
        kyc_tier=KycTier.TIER_1,
        is_frozen=version == 2,
        roles=[],
        wallet_risk="UNKNOWN",
        effective_from=NOW,
    )


def _proof(version: int) -> AssetVerified | AssetVerificationFailed:
    said: dict[str, Any] = {
        "version": version,
        "verification_id": UUID(int=5),
        "user_id": USER,
        "game_id": "9001",
        "ownership_type": GameOwnershipType.OWNER,
        "method": VerificationMethod.GAME_OWNERSHIP_API,
        "checked_at": NOW + timedelta(minutes=version),
    }
    if version % 2:
        return AssetVerified(**said, valid_until=NOW + timedelta(days=1), game=SNAPSHOT)
    return AssetVerificationFailed(**said, reason="Not the owner.")


FACTS = [*(_user(n) for n in range(1, 4)), *(_proof(n) for n in range(1, 5))]
HANDLERS: dict[type, Any] = {
    UserUpdated: parties.remember_user,
    AssetVerified: parties.remember_proof,
    AssetVerificationFailed: parties.remember_failure,
}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    extra=st.lists(st.sampled_from(range(len(FACTS))), max_size=6),
    seed=st.randoms(use_true_random=False),
)
async def test_the_newest_fact_wins_in_any_order(
    database: Database, extra: list[int], seed: Any
) -> None:
    order = [*range(len(FACTS)), *extra]
    seed.shuffle(order)
    await database.truncate()
    for number in order:
        async with database.sessions.begin() as session:
            await HANDLERS[type(FACTS[number])](session, FACTS[number])
    user = await database.one("SELECT version, is_frozen, card->>'name' AS name FROM users")
    assert user == {"version": 3, "is_frozen": False, "name": "name 3"}
    proof = await database.one("SELECT version, is_verified, valid_until FROM verifications")
    assert proof == {"version": 4, "is_verified": False, "valid_until": None}


async def _deal(market: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    listing = await market.listing()
    offer = await market.offer(listing)
    await market.seller.post(f"/v1/offers/{offer['id']}/accept")
    return listing, offer


async def test_a_released_trade_sells_the_listing_and_declines_the_other_offers(
    market: Any, database: Database
) -> None:
    listing = await market.listing()
    other = await market.offer(listing, 410_000, by=market.rival)
    offer = await market.offer(listing)
    await market.seller.post(f"/v1/offers/{offer['id']}/accept")
    for _ in range(3):
        async with database.sessions.begin() as session:
            await deals.close(session, UUID(offer["id"]), End.SOLD)
    assert (await market.seller.get(f"/v1/listings/{listing['id']}")).json()["status"] == "SOLD"
    declined = (await market.rival.get(f"/v1/offers/{other['id']}")).json()
    assert (declined["status"], declined["reason"]) == ("DECLINED", "SOLD")
    topics = [row["topic"] for row in await database.rows("SELECT topic FROM outbox ORDER BY id")]
    assert topics.count("listing.sold") == topics.count("offer.declined") == 1


@pytest.mark.parametrize("is_still_proven", [True, False])
async def test_a_fallen_trade_frees_the_listing_unless_the_owner_lost_the_game(
    market: Any, database: Database, is_still_proven: bool
) -> None:
    listing, offer = await _deal(market)
    if not is_still_proven:
        async with database.sessions.begin() as session:
            failure = _proof(4).model_copy(update={"user_id": market.seller.id})
            assert isinstance(failure, AssetVerificationFailed)
            await parties.remember_failure(session, failure)
    async with database.sessions.begin() as session:
        await deals.close(session, UUID(offer["id"]), End.FREED)
    row = await database.one("SELECT status, reserved_by_offer_id FROM listings")
    expected = "ACTIVE" if is_still_proven else "INACTIVE"
    assert row == {"status": expected, "reserved_by_offer_id": None}
    assert listing["status"] == "ACTIVE"


async def test_an_end_that_names_another_offer_frees_nothing(
    market: Any, database: Database
) -> None:
    _, offer = await _deal(market)
    before = await database.rows("SELECT * FROM listings")
    async with database.sessions.begin() as session:
        await deals.close(session, uuid4(), End.FREED)
    assert await database.rows("SELECT * FROM listings") == before
    assert (await market.buyer.get(f"/v1/offers/{offer['id']}")).json()["closed_at"] is None


async def test_the_end_told_twice_at_once_is_written_once(market: Any, database: Database) -> None:
    _, offer = await _deal(market)

    async def tell() -> None:
        async with database.sessions.begin() as session:
            await deals.close(session, UUID(offer["id"]), End.SOLD)

    await asyncio.gather(*(tell() for _ in range(5)))
    assert len(await database.rows("SELECT 1 FROM outbox WHERE topic = 'listing.sold'")) == 1
