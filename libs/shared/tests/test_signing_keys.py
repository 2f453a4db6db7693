"""Identity's public keys: fetched rarely, kept in the service's own table, checked before use."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from shared import auth
from shared.auth import PublishedKeys, SigningKey
from shared.database import Sessions
from shared.errors import Unavailable
from shared.testing.tokens import TestIssuer


class Identity:
    """Answers for identity's JWKS endpoint and counts how often it was asked."""

    def __init__(self, *issuers: TestIssuer) -> None:
        self.published: list[dict[str, Any]] = [issuer.jwks()["keys"][0] for issuer in issuers]
        self.asked = 0
        self.is_away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        assert str(request.url) == "http://identity/.well-known/jwks.json"
        if self.is_away:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"keys": self.published})


def keys_of(
    sessions: Sessions, identity: Identity, seconds: Callable[[], float] = time.monotonic
) -> PublishedKeys:
    return PublishedKeys(
        sessions,
        "http://identity/.well-known/jwks.json",
        transport=httpx.MockTransport(identity),
        seconds=seconds,
    )


@pytest.fixture(autouse=True)
async def _empty_cache(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(sa.delete(SigningKey))


async def stored(sessions: Sessions) -> dict[str, dict[str, Any]]:
    async with sessions.begin() as session:
        return {row.kid: row.jwk for row in (await session.scalars(sa.select(SigningKey))).all()}


async def test_a_key_is_fetched_once_and_kept(sessions: Sessions) -> None:
    issuer = TestIssuer(kid="a")
    identity = Identity(issuer)
    keys = keys_of(sessions, identity)
    found = await asyncio.gather(*(keys.key("a") for _ in range(20)))
    assert {key.as_dict(private=False)["x"] for key in found if key} == {
        issuer.jwks()["keys"][0]["x"]
    }
    assert len([key for key in found if key]) == 20
    assert identity.asked == 1
    assert set(await stored(sessions)) == {"a"}
    assert "d" not in (await stored(sessions))["a"]


async def test_unknown_ids_cause_at_most_one_fetch_in_30_seconds(
    sessions: Sessions,
) -> None:
    identity = Identity(TestIssuer(kid="a"))
    now = 1000.0
    keys = keys_of(sessions, identity, lambda: now)
    for number in range(50):
        assert await keys.key(f"unknown-{number}") is None
    assert await keys.key("a") is not None
    assert identity.asked == 1
    identity.published += TestIssuer(kid="b").jwks()["keys"]
    now += 29
    assert await keys.key("b") is None
    assert identity.asked == 1
    now += 2
    assert await keys.key("b") is not None
    assert identity.asked == 2


async def test_a_restart_works_while_identity_is_away(sessions: Sessions) -> None:
    identity = Identity(TestIssuer(kid="a"))
    assert await keys_of(sessions, identity).key("a") is not None
    identity.is_away = True
    restarted = keys_of(sessions, identity)
    assert await restarted.key("a") is not None
    for _ in range(5):
        with pytest.raises(Unavailable) as unknown:
            await restarted.key("b")
        assert 28 <= unknown.value.retry_after_seconds <= 30
    assert identity.asked == 2


async def test_a_withdrawn_key_is_forgotten_at_the_next_refresh(
    sessions: Sessions,
) -> None:
    old, new = TestIssuer(kid="old"), TestIssuer(kid="new")
    identity = Identity(old, new)
    now = 1000.0
    keys = keys_of(sessions, identity, lambda: now)
    assert await keys.key("old") is not None
    identity.published = new.jwks()["keys"]
    now += auth.REFRESH_AFTER_SECONDS - 1
    assert await keys.key("old") is not None
    now += 1
    assert await keys.key("old") is None
    assert await keys.key("new") is not None
    assert set(await stored(sessions)) == {"new"}
    identity.is_away = True
    now += auth.REFRESH_AFTER_SECONDS
    assert await keys.key("new") is not None


@pytest.mark.parametrize("answer", [{}, [], {"keys": None}, {"keys": [1]}, {"keys": "abc"}])
async def test_a_strange_key_set_changes_nothing(sessions: Sessions, answer: Any) -> None:
    keys = PublishedKeys(
        sessions,
        "http://identity/.well-known/jwks.json",
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer)),
    )
    with pytest.raises(Unavailable):
        await keys.key("a")
    assert await stored(sessions) == {}
