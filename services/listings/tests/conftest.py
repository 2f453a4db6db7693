"""A seller with a verified game, a buyer, and the api over their database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from listings.api import create_app
from listings.models import KnownUser, KnownVerification
from listings.settings import Settings
from shared.events.cards import GameOwnershipType
from shared.testing import Database, database_for
from shared.testing.tokens import ISSUER, TestIssuer

server, database, session, clock = database_for("listings")

GAME = {
    "game_id": "9001",
    "game_name": "Skyline Tycoon",
    "game_description": "Build a city.",
    "thumbnail_url": None,
    "player_count": 1200,
    "visits": 4_812_345,
    "created_date": "2023-04-01T12:00:00Z",
    "creator_id": "2001",
    "creator_type": "User",
    "creator_name": "sasha_builds",
    "taken_at": "2026-11-23T12:00:00Z",
}


@pytest.fixture(scope="session")
def settings(server: Database) -> Settings:
    return Settings(
        environment="test",
        database_url=server.app_dsn,
        ops_port=0,
        public_url=ISSUER,
        jwt_issuer=ISSUER,
        jwks_url="http://127.0.0.1:9/none",
    )


def card(user_id: UUID, name: str, *, tier: str = "TIER_1") -> dict[str, Any]:
    return {
        "user_id": str(user_id),
        "name": name,
        "roblox_id": None if tier == "TIER_0" else "2001",
        "roblox_name": None if tier == "TIER_0" else name,
        "discord_id": "1",
        "discord_name": name,
        "kyc_tier": tier,
        "wallet_address": None,
    }


def proof(user_id: UUID, game_id: str = "9001", version: int = 1) -> KnownVerification:
    now = datetime.now(UTC)
    return KnownVerification(
        user_id=user_id,
        game_id=game_id,
        version=version,
        is_verified=True,
        ownership_type=GameOwnershipType.OWNER,
        checked_at=now,
        valid_until=now + timedelta(hours=24),
        game=GAME | {"game_id": game_id},
    )


class Person:
    """A user with a token, speaking to the api."""

    def __init__(self, http: httpx.AsyncClient, issuer: TestIssuer, user_id: UUID) -> None:
        self.id = user_id
        self._http = http
        self._headers = issuer.authorization(user_id)

    async def post(
        self, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        sent = self._headers | {"Idempotency-Key": key or str(uuid4())} | headers
        return await self._http.post(path, json={} if body is None else body, headers=sent)

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path, headers=self._headers)


@dataclass
class Market:
    """Everyone and everything a test needs."""

    http: httpx.AsyncClient
    seller: Person
    buyer: Person
    rival: Person
    stranger: Person
    newcomer: Person

    async def listing(self, price: int = 500_000, game_id: str = "9001") -> dict[str, Any]:
        answer = await self.seller.post(
            "/v1/listings",
            {
                "title": "Skyline",
                "summary": "A city builder.",
                "category": "simulation",
                "price": price,
                "game_id": game_id,
            },
        )
        assert answer.status_code == 201, answer.text
        listing: dict[str, Any] = answer.json()
        return listing

    async def offer(
        self, listing: dict[str, Any], amount: int = 400_000, by: Person | None = None
    ) -> dict[str, Any]:
        answer = await (by or self.buyer).post(
            f"/v1/listings/{listing['id']}/offers", {"amount": amount, "currency": "USD"}
        )
        assert answer.status_code == 201, answer.text
        offer: dict[str, Any] = answer.json()
        return offer


@pytest.fixture(scope="session")
def issuer() -> TestIssuer:
    return TestIssuer()


@pytest.fixture(scope="session")
def app(server: Database, settings: Settings, issuer: TestIssuer) -> FastAPI:
    """The api; what it keeps between requests is in the database."""
    return create_app(settings, server.sessions, issuer.key_source())


@pytest.fixture
async def market(database: Database, app: FastAPI, issuer: TestIssuer) -> AsyncIterator[Market]:
    ids = [UUID(int=n + 1) for n in range(5)]
    async with database.sessions.begin() as session:
        for user_id, name in zip(ids, ("sasha", "blair", "rin", "moss", "new"), strict=True):
            tier = "TIER_0" if name == "new" else "TIER_1"
            known = card(user_id, name, tier=tier)
            session.add(KnownUser(id=user_id, version=1, card=known, is_frozen=False))
        session.add(proof(ids[0]))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
        yield Market(http, *(Person(http, issuer, user_id) for user_id in ids))
