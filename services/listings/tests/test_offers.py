"""Negotiating over HTTP: rules, refusals that change nothing, and the events that follow."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from listings import repository
from listings.models import KnownUser
from listings.use_cases import deals, offers
from listings.use_cases.deals import End
from shared.deadlines import DeadlineTicker, Expiry
from shared.testing import Clock, Database


async def rows(database: Database) -> dict[str, Any]:
    """All that a refusal must leave as it was."""
    return {
        table: await database.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("listings", "offers", "outbox", "audit_logs", "deadlines", "idempotency_keys")
    }


@pytest.mark.parametrize(
    ("amount", "field"),
    [
        *(("4500.5", "amount"), ("4500.0", "amount"), ("0", "amount"), ("-1", "amount")),
        *(("10000000000000", "amount"), ('"5"', "amount"), ("true", "amount"), ("null", "amount")),
        *(("1e3", "amount"), ("49", "amount"), ("500001", "amount")),
    ],
)
async def test_an_amount_that_is_none_is_refused(
    market: Any, database: Database, amount: str, field: str
) -> None:
    listing = await market.listing()
    before = await rows(database)
    answer = await market.http.post(
        f"/v1/listings/{listing['id']}/offers",
        content=f'{{"amount": {amount}, "currency": "USD"}}',
        headers=market.buyer._headers
        | {"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await rows(database) == before


@pytest.mark.parametrize(
    ("price", "amount", "currency", "status"),
    [
        (500_000, 50, "USD", 201),
        (500_000, 500_000, "USD", 201),
        (2_000_000, 1_000_000, "USD", 201),
        (2_000_000, 1_000_001, "USDC", 201),
        (2_000_000, 1_000_001, "USD", 422),
        (2_000_000, 1_000_000, "USDC", 422),
    ],
)
async def test_an_amount_has_one_currency(
    market: Any, price: int, amount: int, currency: str, status: int
) -> None:
    listing = await market.listing(price)
    answer = await market.buyer.post(
        f"/v1/listings/{listing['id']}/offers", {"amount": amount, "currency": currency}
    )
    assert answer.status_code == status


async def test_nobody_but_a_trader_offers(market: Any, database: Database) -> None:
    listing = await market.listing()
    before = await rows(database)
    path, body = f"/v1/listings/{listing['id']}/offers", {"amount": 400_000, "currency": "USD"}
    for person, status, code in (
        (market.seller, 409, "own-listing"),
        (market.newcomer, 403, "tier-too-low"),
    ):
        answer = await person.post(path, body)
        assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[-1]) == (status, code)
    assert (await market.http.post(path, json=body)).status_code == 401
    assert await rows(database) == before


async def test_a_user_who_has_not_arrived_is_asked_to_wait(market: Any, database: Database) -> None:
    listing = await market.listing()
    async with database.sessions.begin() as session:
        await session.delete(await session.get(KnownUser, market.rival.id))
    answer = await market.rival.post(
        f"/v1/listings/{listing['id']}/offers", {"amount": 400_000, "currency": "USD"}
    )
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")
    assert answer.json()["type"].endswith("/not-yet-known")


async def test_one_open_offer_per_buyer(market: Any) -> None:
    listing = await market.listing()
    await market.offer(listing)
    again = await market.buyer.post(
        f"/v1/listings/{listing['id']}/offers", {"amount": 300_000, "currency": "USD"}
    )
    assert again.status_code == 409
    assert again.json()["type"].endswith("/offer-already-open")


async def test_only_the_other_side_answers(market: Any, database: Database) -> None:
    offer = await market.offer(await market.listing())
    before = await rows(database)
    path = f"/v1/offers/{offer['id']}"
    for verb, body in (
        ("accept", {}),
        ("decline", {}),
        ("counter", {"amount": 450_000, "currency": "USD"}),
    ):
        answer = await market.buyer.post(f"{path}/{verb}", body)
        assert (verb, answer.status_code) == (verb, 409)
        assert answer.json()["type"].endswith("/not-your-turn")
        assert (await market.stranger.post(f"{path}/{verb}", body)).status_code == 404
    assert (await market.seller.post(f"{path}/withdraw")).status_code == 409
    assert await rows(database) == before


async def test_a_counter_turns_the_table_and_keeps_the_sides(
    market: Any, database: Database
) -> None:
    offer = await market.offer(await market.listing())
    counter = await market.seller.post(
        f"/v1/offers/{offer['id']}/counter", {"amount": 450_000, "currency": "USD"}
    )
    child = counter.json()
    assert (child["buyer_id"], child["seller_id"]) == (offer["buyer_id"], offer["seller_id"])
    assert child["proposed_by"] == str(market.seller.id)
    assert child["root_offer_id"] == child["parent_id"] == offer["id"]
    assert (await market.buyer.get(f"/v1/offers/{offer['id']}")).json()["status"] == "COUNTERED"
    accepted = await market.buyer.post(f"/v1/offers/{child['id']}/accept")
    assert accepted.json()["status"] == "ACCEPTED"
    [event] = await database.rows("SELECT * FROM outbox WHERE topic = 'offer.accepted'")
    deal = json.loads(event["payload"])["deal"]
    assert (deal["amount"], deal["currency"]) == (450_000, "USD")
    assert deal["terms"] == {
        "fee_basis_points": 250,
        "fee": 11_250,
        "rail": "STRIPE",
        "sign_within_seconds": 259_200,
        "pay_within_seconds": 259_200,
        "deliver_within_seconds": 1_209_600,
        "auto_release_seconds": 604_800,
        "reclaim_after_seconds": 15_552_000,
    }
    assert (deal["seller"]["name"], deal["buyer"]["name"]) == ("sasha", "blair")
    assert event["key"] == offer["id"]


async def test_two_offers_accepted_at_once_make_one_deal(market: Any, database: Database) -> None:
    listing = await market.listing()
    for _ in range(50):
        first = await market.offer(listing, 400_000)
        second = await market.offer(listing, 410_000, by=market.rival)
        answers = await asyncio.gather(
            *(market.seller.post(f"/v1/offers/{o['id']}/accept") for o in (first, second))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        open_deals = await database.rows(
            "SELECT id FROM offers WHERE status = 'ACCEPTED' AND closed_at IS NULL"
        )
        [won] = [answer.json()["id"] for answer in answers if answer.status_code == 200]
        assert [str(row["id"]) for row in open_deals] == [won]
        reserved = await database.one("SELECT status, reserved_by_offer_id FROM listings")
        assert (reserved["status"], str(reserved["reserved_by_offer_id"])) == ("INACTIVE", won)
        # The trade falls through, so that the next round finds the listing free.
        async with database.sessions.begin() as session:
            await deals.close(session, open_deals[0]["id"], End.FREED)
        for offer in (first, second):
            await market.seller.post(f"/v1/offers/{offer['id']}/decline")


async def test_accepting_and_expiring_at_once_has_one_winner(
    market: Any, database: Database, clock: Clock
) -> None:
    listing = await market.listing()
    ticker = DeadlineTicker(
        database.sessions,
        {offers.OFFER_EXPIRY: Expiry(repository.lock_offer, offers.expire)},
    )
    for _ in range(10):
        offer = await market.offer(listing)
        await clock.advance(timedelta(days=7, seconds=1))
        answer, _ = await asyncio.gather(
            market.seller.post(f"/v1/offers/{offer['id']}/accept"), ticker.tick()
        )
        assert answer.status_code == 409
        status = await database.one("SELECT status FROM offers WHERE id = $1", offer["id"])
        assert status == {"status": "EXPIRED"}
        await clock.restore()


async def test_the_same_key_accepts_once(market: Any, database: Database) -> None:
    offer = await market.offer(await market.listing())
    path = f"/v1/offers/{offer['id']}/accept"
    first = await market.seller.post(path, key="same")
    second = await market.seller.post(path, key="same")
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await database.rows("SELECT 1 FROM outbox WHERE topic = 'offer.accepted'")) == 1
    other = await market.seller.post(path, {"listing_version": 1}, key="same")
    assert other.status_code == 422
    assert (
        await market.http.post(path, json={}, headers=market.seller._headers)
    ).status_code == 400


async def test_an_old_proof_blocks_acceptance(market: Any, clock: Clock) -> None:
    offer = await market.offer(await market.listing())
    await clock.advance(timedelta(hours=25))
    answer = await market.seller.post(f"/v1/offers/{offer['id']}/accept")
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/verification-expired")


async def test_a_listing_that_changed_must_be_confirmed(market: Any) -> None:
    listing = await market.listing()
    offer = await market.offer(listing)
    for verb, version in (("deactivate", 1), ("activate", 2)):
        changed = await market.seller.post(
            f"/v1/listings/{listing['id']}/{verb}", **{"If-Match": f'"{version}"'}
        )
        assert changed.status_code == 200
    path = f"/v1/offers/{offer['id']}/accept"
    refused = await market.seller.post(path)
    assert (refused.status_code, refused.json()["listing_version"]) == (409, 3)
    assert (await market.seller.post(path, {"listing_version": 3})).status_code == 200


async def test_pages_are_complete_and_without_repeats(market: Any, database: Database) -> None:
    listing = await market.listing()
    made = []
    for amount in range(50, 57):
        offer = await market.offer(listing, amount)
        made.append(offer["id"])
        await market.buyer.post(f"/v1/offers/{offer['id']}/withdraw")
    seen, cursor = [], ""
    while True:
        page = (await market.buyer.get(f"/v1/offers?limit=3{cursor}")).json()
        seen += [offer["id"] for offer in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    assert (await market.buyer.get("/v1/offers?cursor=junk")).status_code == 422
    assert (await market.buyer.get("/v1/offers?limit=101")).status_code == 422
