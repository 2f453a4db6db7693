"""One Idempotency-Key, one effect, one answer: on a real database, also under a race."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic_settings import SettingsConfigDict
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import make_transient

from shared import audit, auth, web
from shared.answers import KEPT, IdempotencyKey, forget_old
from shared.clock import clock
from shared.database import Sessions
from shared.errors import Conflict
from shared.idempotency import Once, OnceIfKeyed
from shared.settings import ServiceSettings
from shared.testing.tokens import ISSUER, TestIssuer

issuer = TestIssuer()
running = asyncio.Event()
may_finish = asyncio.Event()


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PURSES_", frozen=True, extra="ignore")


class Put(web.RequestBody):
    amount: int
    note: str = ""


class Filled(web.View):
    purse_id: UUID
    amount: int
    entry_id: UUID


router = APIRouter()


async def fill(session: AsyncSession, purse_id: UUID, amount: int) -> Filled:
    entry_id = uuid4()
    await audit.record(session, "purse.filled", "purse", purse_id, entry=str(entry_id))
    if amount == 13:
        raise Conflict("The purse is closed.", state="CLOSED")
    await session.flush()
    running.set()
    if amount == 77:
        await may_finish.wait()
    return Filled(purse_id=purse_id, amount=amount, entry_id=entry_id)


@router.post("/v1/purses/{purse_id}/fill")
async def fill_route(purse_id: UUID, body: Put, caller: auth.Caller, once: Once) -> Response:
    return await once(
        caller.user_id, lambda session: fill(session, purse_id, body.amount), status=201
    )


@router.post("/v1/purses/{purse_id}/drain")
async def drain(purse_id: UUID, body: Put, caller: auth.Caller, once: Once) -> Response:
    return await once(caller.user_id, lambda session: fill(session, purse_id, body.amount))


@router.post("/v1/purses/{purse_id}/key")
async def show_key(purse_id: UUID, body: Put, caller: auth.Caller, once: Once) -> Response:
    return await once(
        caller.user_id, lambda session: fill(session, purse_id, body.amount), secret=True
    )


@router.post("/v1/purses/{purse_id}/touch")
async def touch(purse_id: UUID, caller: auth.Caller, once: OnceIfKeyed) -> Response:
    return await once(caller.user_id, lambda session: fill(session, purse_id, 0))


@router.post("/v1/purses/{purse_id}/by-link")
async def link(purse_id: UUID, token: str, once: Once) -> Response:
    return await once(f"link:{token}", lambda session: fill(session, purse_id, 1))


@pytest.fixture
async def client(sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        environment="test",
        database_url="postgresql://unused",
        ops_port=0,
        public_url=ISSUER,
        jwt_issuer=ISSUER,
        jwks_url=ISSUER,
    )
    app = web.create_app(
        settings, "Purses", routers=[router], sessions=sessions, keys=issuer.key_source()
    )
    running.clear()
    may_finish.clear()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://purses") as client:
        yield client


class Caller:
    """One user at one purse; every instance is a new pair."""

    def __init__(self, client: httpx.AsyncClient, sessions: Sessions) -> None:
        self.client = client
        self.sessions = sessions
        self.purse_id = uuid4()
        self.headers = issuer.authorization(uuid4())

    async def post(
        self, key: str | None, amount: int = 5, *, route: str = "fill", purse_id: UUID | None = None
    ) -> httpx.Response:
        return await self.client.post(
            f"/v1/purses/{purse_id or self.purse_id}/{route}",
            json={"amount": amount},
            headers=self.headers | ({"Idempotency-Key": key} if key is not None else {}),
        )

    async def effects(self) -> int:
        counted = sa.select(sa.func.count()).where(audit.AuditLog.subject_id == str(self.purse_id))
        async with self.sessions.begin() as session:
            return await session.scalar(counted) or 0


@pytest.fixture
def caller(client: httpx.AsyncClient, sessions: Sessions) -> Caller:
    return Caller(client, sessions)


def code(response: httpx.Response) -> str:
    return str(response.json()["type"]).removeprefix("https://bloxtr8.dev/problems/")


async def test_a_repeated_command_gets_the_stored_answer(caller: Caller) -> None:
    first = await caller.post("k1")
    again = await caller.post("k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    assert await caller.effects() == 1


async def test_spacing_and_order_of_a_body_do_not_make_it_another(caller: Caller) -> None:
    path, headers = f"/v1/purses/{caller.purse_id}/fill", caller.headers | {"Idempotency-Key": "k"}
    headers |= {"Content-Type": "application/json"}
    answers = [
        await caller.client.post(path, content=body, headers=headers)
        for body in ('{"amount":5,"note":"é"}', '{ "note": "\\u00e9", "amount": 5 }')
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert await caller.effects() == 1


async def test_another_body_or_path_under_the_same_key_is_422(caller: Caller) -> None:
    first = await caller.post("k1", 5)
    other_body = await caller.post("k1", 6)
    other_path = await caller.post("k1", 5, purse_id=uuid4())
    for refused in (other_body, other_path):
        assert (refused.status_code, code(refused)) == (422, "idempotency-key-reused")
    assert (await caller.post("k1", 5)).content == first.content
    assert await caller.effects() == 1


async def test_a_key_belongs_to_one_caller_and_one_route(
    caller: Caller, client: httpx.AsyncClient, sessions: Sessions
) -> None:
    mine = await caller.post("k1")
    stranger = Caller(client, sessions)
    stranger.purse_id = caller.purse_id
    theirs = await stranger.post("k1")
    elsewhere = await caller.post("k1", route="drain")
    assert not any("idempotency-replayed" in answer.headers for answer in (theirs, elsewhere))
    assert (
        len({mine.json()["entry_id"], theirs.json()["entry_id"], elsewhere.json()["entry_id"]}) == 3
    )
    assert await caller.effects() == 3


async def test_a_refusal_stores_nothing(caller: Caller) -> None:
    refused = await caller.post("k1", 13)
    assert (refused.status_code, refused.json()["state"]) == (409, "CLOSED")
    assert await caller.effects() == 0
    done = await caller.post("k1", 5)
    assert done.status_code == 201
    assert "idempotency-replayed" not in done.headers
    assert await caller.effects() == 1


async def test_a_second_request_is_turned_away_while_the_first_runs(caller: Caller) -> None:
    first = asyncio.create_task(caller.post("k1", 77))
    await asyncio.wait_for(running.wait(), 10)
    second = await caller.post("k1", 77)
    assert (second.status_code, code(second)) == (409, "idempotency-in-progress")
    assert second.headers["retry-after"] == "1"
    may_finish.set()
    done = await first
    third = await caller.post("k1", 77)
    assert (done.status_code, third.status_code) == (201, 201)
    assert done.content == third.content
    assert await caller.effects() == 1


async def test_many_at_once_have_one_effect_and_one_answer(caller: Caller) -> None:
    async def until_answered() -> httpx.Response:
        while True:
            answer = await caller.post("k1")
            if answer.status_code != 409:
                return answer
            assert code(answer) == "idempotency-in-progress"

    answers = await asyncio.gather(*(until_answered() for _ in range(30)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    fresh = [answer for answer in answers if "idempotency-replayed" not in answer.headers]
    assert len(fresh) == 1
    assert await caller.effects() == 1


async def test_an_answer_kept_since_the_look_undoes_this_one(
    caller: Caller, sessions: Sessions
) -> None:
    may_finish.set()
    first = await caller.post("k1", 77)
    async with sessions.begin() as session:
        newest = sa.select(IdempotencyKey).order_by(IdempotencyKey.created_at.desc()).limit(1)
        kept = (await session.scalars(newest)).one()
        await session.delete(kept)
    may_finish.clear()
    running.clear()
    second = asyncio.create_task(caller.post("k1", 77))
    await asyncio.wait_for(running.wait(), 10)
    async with sessions.begin() as session:
        make_transient(kept)
        session.add(kept)
    may_finish.set()
    refused = await second
    assert (refused.status_code, code(refused)) == (409, "idempotency-in-progress")
    assert await caller.effects() == 1
    assert (await caller.post("k1", 77)).content == first.content


async def test_a_secret_answer_is_given_once_and_not_kept(
    caller: Caller, sessions: Sessions
) -> None:
    first = await caller.post("k1", route="key")
    assert first.status_code == 200
    again = await caller.post("k1", route="key")
    assert (again.status_code, code(again)) == (409, "idempotency-answer-not-kept")
    assert await caller.effects() == 1
    async with sessions.begin() as session:
        answers = (await session.scalars(sa.select(IdempotencyKey.answer))).all()
    assert not any(first.json()["entry_id"].encode() in (answer or b"") for answer in answers)


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 256, "k\x7f"])
async def test_a_key_must_be_visible_ascii(caller: Caller, key: str) -> None:
    refused = await caller.post(key)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["Idempotency-Key"]
    assert await caller.effects() == 0


async def test_a_required_key_that_is_missing_is_400(caller: Caller) -> None:
    refused = await caller.post(None)
    assert (refused.status_code, code(refused)) == (400, "idempotency-key-required")
    assert await caller.effects() == 0


async def test_an_optional_key_counts_when_it_is_sent(caller: Caller) -> None:
    for _ in range(2):
        assert (await caller.post(None, route="touch")).status_code == 200
    assert await caller.effects() == 2
    first, again = [await caller.post("k1", route="touch") for _ in range(2)]
    assert first.content == again.content
    assert await caller.effects() == 3


async def test_a_caller_without_a_token_has_keys_of_their_own(caller: Caller) -> None:
    path = f"/v1/purses/{caller.purse_id}/by-link"
    headers = {"Idempotency-Key": "k1"}
    first, again = [
        await caller.client.post(path, params={"token": "a"}, headers=headers) for _ in range(2)
    ]
    other = await caller.client.post(path, params={"token": "b"}, headers=headers)
    assert first.content == again.content
    assert other.json()["entry_id"] != first.json()["entry_id"]
    assert await caller.effects() == 2


async def test_the_header_is_told_of_where_it_is_read(caller: Caller) -> None:
    document = (await caller.client.get("/v1/purses/openapi.json")).json()
    told = {
        path.rpartition("/")[2]: [one["required"] for one in parameters if one["in"] == "header"]
        for path, operations in document["paths"].items()
        for parameters in (operations["post"]["parameters"],)
    }
    assert told == {
        "fill": [True],
        "drain": [True],
        "key": [True],
        "touch": [False],
        "by-link": [True],
    }


async def test_an_answer_is_forgotten_after_24_hours(caller: Caller, sessions: Sessions) -> None:
    await caller.post("k1")
    await caller.post("k2", route="drain")
    async with sessions.begin() as session:
        past = clock() - KEPT - KEPT / 1000
        await session.execute(sa.update(IdempotencyKey).values(created_at=past))
    fresh = await caller.post("k1")
    assert (fresh.status_code, "idempotency-replayed" in fresh.headers) == (201, False)
    assert await caller.effects() == 3
    async with sessions.begin() as session:
        await forget_old(session)
        left = (await session.scalars(sa.select(IdempotencyKey.answer))).all()
    assert left == [fresh.content]
