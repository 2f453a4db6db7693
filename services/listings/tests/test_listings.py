"""Putting games on offer: who may, what is seen by whom."""

from typing import Any

import pytest

from listings.models import KnownVerification
from shared.testing import Database

BODY = {
    "title": "Skyline",
    "summary": "A city builder.",
    "category": "simulation",
    "price": 500_000,
    "game_id": "9001",
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": "x" * 121}, "title"),
        ({"title": "  "}, "title"),
        ({"summary": "x" * 4001}, "summary"),
        ({"category": "cars"}, "category"),
        ({"price": 0}, "price"),
        ({"price": 12.5}, "price"),
        ({"game_id": "9001; DROP"}, "game_id"),
        ({"status": "SOLD"}, "status"),
        ({"seller_id": "00000000-0000-0000-0000-000000000009"}, "seller_id"),
    ],
)
async def test_bad_listings_are_refused_by_field(
    market: Any, database: Database, change: dict[str, Any], field: str
) -> None:
    answer = await market.seller.post("/v1/listings", BODY | change)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await database.rows("SELECT 1 FROM listings") == []


async def test_a_game_is_offered_once(market: Any) -> None:
    await market.listing()
    again = await market.seller.post("/v1/listings", BODY)
    assert (again.status_code, again.json()["type"].rsplit("/", 1)[-1]) == (
        409,
        "game-already-listed",
    )


async def test_only_a_proven_owner_lists(market: Any, database: Database) -> None:
    for person, status, code in (
        (market.buyer, 409, "not-yet-known"),
        (market.newcomer, 403, "tier-too-low"),
    ):
        answer = await person.post("/v1/listings", BODY)
        assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[-1]) == (status, code)
    async with database.sessions.begin() as session:
        known = await session.get(KnownVerification, (market.seller.id, "9001"))
        assert known is not None
        known.is_verified, known.valid_until, known.game = False, None, None
    answer = await market.seller.post("/v1/listings", BODY)
    assert answer.json()["type"].endswith("/not-verified")
    assert await database.rows("SELECT 1 FROM listings") == []


async def test_private_listings_are_seen_by_their_owner_alone(market: Any) -> None:
    made = await market.seller.post("/v1/listings", BODY | {"visibility": "PRIVATE"})
    path = f"/v1/listings/{made.json()['id']}"
    assert (await market.seller.get(path)).status_code == 200
    assert (await market.stranger.get(path)).status_code == 404
    assert (await market.http.get(path)).status_code == 404
    assert (await market.http.get("/v1/listings")).json()["items"] == []


async def test_anybody_browses_by_price(market: Any) -> None:
    listing = await market.listing(500_000)
    found = (await market.http.get("/v1/listings?price_range=5k_20k&category=simulation")).json()
    assert [item["id"] for item in found["items"]] == [listing["id"]]
    assert (await market.http.get("/v1/listings?price_range=under_5k")).json()["items"] == []
    assert (await market.http.get("/v1/listings?price_range=cheap")).status_code == 422


async def test_the_quote_is_what_acceptance_will_stamp(market: Any) -> None:
    listing = await market.listing()
    quote = (await market.http.get(f"/v1/listings/{listing['id']}/quote?amount=450000")).json()
    assert (quote["terms"]["fee"], quote["seller_receives"]) == (11_250, 438_750)
    assert (quote["currency"], quote["terms"]["rail"]) == ("USD", "STRIPE")


async def test_an_old_version_is_not_changed(market: Any, database: Database) -> None:
    listing = await market.listing()
    path = f"/v1/listings/{listing['id']}/deactivate"
    assert (await market.seller.post(path)).status_code == 428
    assert (await market.seller.post(path, **{"If-Match": '"7"'})).status_code == 412
    assert (await market.stranger.post(path, **{"If-Match": '"1"'})).status_code == 404
    assert await database.one("SELECT status, version FROM listings") == {
        "status": "ACTIVE",
        "version": 1,
    }


async def test_each_change_leaves_one_audit_row(market: Any, database: Database) -> None:
    offer = await market.offer(await market.listing())
    await market.seller.post(f"/v1/offers/{offer['id']}/accept")
    audit = await database.rows(
        "SELECT action, user_id, request_id, ip FROM audit_logs ORDER BY id"
    )
    assert [(row["action"], row["user_id"]) for row in audit] == [
        ("listing.created", market.seller.id),
        ("offer.created", market.buyer.id),
        ("offer.accepted", market.seller.id),
        ("listing.reserved", market.seller.id),
    ]
    assert all(row["request_id"] and row["ip"] == "127.0.0.1" for row in audit)


async def test_every_route_tells_its_problems(market: Any) -> None:
    document = (await market.http.get("/v1/listings/openapi.json")).json()
    accept = document["paths"]["/v1/offers/{offer_id}/accept"]["post"]["responses"]
    assert {"200", "401", "404", "409", "422"} <= set(accept)
