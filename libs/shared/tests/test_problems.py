"""What failures of a real database mean to a client, and that nothing of them is shown."""

from collections.abc import AsyncIterator

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from structlog.testing import capture_logs

from shared import problems
from shared.database import Sessions
from shared.errors import Conflict, Forbidden, NotFound, NotYetKnown
from shared.limits import RateLimit
from shared.transactions import Transaction

STATEMENTS = {
    "unique": ["INSERT INTO rate_limits VALUES ('taken', clock(), 1)"],
    "commit": [
        "CREATE TEMP TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP",
        "INSERT INTO late VALUES (1), (1)",
    ],
    "serialization": ["DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"],
    "deadlock": ["DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"],
    "lock": ["DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$"],
    "timeout": ["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(5)"],
    "shutdown": ["DO $$ BEGIN RAISE SQLSTATE '57P01'; END $$"],
    "connections": ["DO $$ BEGIN RAISE SQLSTATE '53300'; END $$"],
    "killed": ["SELECT pg_terminate_backend(pg_backend_pid())"],
    "absent": ["INSERT INTO audit_logs (id, action) VALUES (gen_random_uuid(), 'canary-secret')"],
    "syntax": ["SELECT 'canary-secret' FROM WHERE"],
    "forbidden": ["UPDATE audit_logs SET action = 'canary-secret'"],
}


@pytest.fixture
async def client(sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.state.sessions = sessions

    @app.post("/run/{name}")
    async def run(name: str, session: Transaction) -> None:
        mark = sa.text("INSERT INTO rate_limits VALUES (:bucket, clock(), 1)")
        await session.execute(mark, {"bucket": name})
        for statement in STATEMENTS[name]:
            await session.execute(sa.text(statement))

    @app.get("/echo")
    async def echo(session: Transaction, text: str) -> str | None:
        return await session.scalar(sa.select(sa.cast(text, sa.Text)))

    async with sessions.begin() as session:
        await session.execute(sa.delete(RateLimit))
        await session.execute(sa.text("INSERT INTO rate_limits VALUES ('taken', clock(), 1)"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://db") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "code", "retry_after"),
    [
        ("unique", 409, "concurrent-change", "1"),
        ("commit", 409, "concurrent-change", "1"),
        ("serialization", 503, "unavailable", "1"),
        ("deadlock", 503, "unavailable", "1"),
        ("lock", 503, "unavailable", "1"),
        ("timeout", 503, "unavailable", "1"),
        ("shutdown", 503, "unavailable", "5"),
        ("connections", 503, "unavailable", "5"),
        ("killed", 503, "unavailable", "5"),
        ("absent", 500, "internal-server-error", None),
        ("syntax", 500, "internal-server-error", None),
        ("forbidden", 500, "internal-server-error", None),
    ],
)
async def test_a_database_failure_is_a_problem_without_sql(
    client: httpx.AsyncClient,
    sessions: Sessions,
    name: str,
    status: int,
    code: str,
    retry_after: str | None,
) -> None:
    with capture_logs() as logs:
        answer = await client.post(f"/run/{name}")
    assert [entry["log_level"] for entry in logs] == ["error" if status == 500 else "warning"]
    assert "canary-secret" not in repr(logs)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"https://bloxtr8.dev/problems/{code}"
    assert set(body) == {"type", "title", "status", "detail", "instance"}
    shown = body["title"] + body["detail"]
    assert not any(word in shown for word in ("rate_limits", "INSERT", "SELE", "asyncpg", "jobs"))
    async with sessions.begin() as session:
        left = (await session.scalars(sa.select(RateLimit.bucket))).all()
    assert left == ["taken"]


async def test_text_that_no_database_keeps_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/echo", params={"text": "é"})).json() == "é"
    answer = await client.get("/echo", params={"text": "a\x00b"})
    assert (answer.status_code, answer.json()["type"]) == (
        422,
        "https://bloxtr8.dev/problems/invalid",
    )


def test_a_route_tells_its_refusals_by_status() -> None:
    told = problems.responses(NotFound, Conflict, NotYetKnown, Forbidden)
    assert {status: entry["description"] for status, entry in told.items()} == {
        404: "Not found (`not-found`)",
        409: "The current state forbids this (`conflict`); "
        "A fact from another service has not arrived yet (`not-yet-known`)",
        403: "Not allowed (`forbidden`)",
    }


def test_a_subclass_keeps_the_status_of_its_kind() -> None:
    class AlreadySold(Conflict):
        code = "already-sold"

    assert problems.status_of(AlreadySold) == 409
    assert problems.status_of(problems.Unauthorized) == 401
    assert problems.status_of(problems.PreconditionRequired) == 428
