"""The app that every api is: what it refuses before a use case runs, and how the answer looks."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, Query
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_settings import SettingsConfigDict
from structlog.testing import capture_logs

from shared import audit, problems, web
from shared.auth import Caller, OptionalCaller, Staff
from shared.database import Sessions, create_engine
from shared.errors import Conflict, Invalid, NotFound, NotYetKnown, TooManyRequests
from shared.money import Cents
from shared.settings import ServiceSettings
from shared.testing.tokens import ISSUER, TestIssuer
from shared.transactions import Transaction

JSON = {"Content-Type": "application/json"}
USER = UUID("01a20000-0000-7000-8000-000000000001")


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="THINGS_", frozen=True, extra="ignore")


class MakeThing(web.RequestBody):
    amount: Cents
    note: str | None = None
    tags: tuple[str, ...] = ()


class Thing(web.View):
    id: UUID
    amount: int
    owner_id: UUID


class Seen(web.View):
    request_id: str | None
    ip: str | None
    user_agent: str | None
    actor_id: UUID | None
    client: str | None


router = APIRouter()


@router.post("/v1/things/{thing_id}", status_code=201, responses=problems.responses(NotFound))
async def make(thing_id: UUID, body: MakeThing, caller: Caller) -> Thing:
    return Thing(id=thing_id, amount=body.amount, owner_id=caller.user_id)


@router.get("/v1/things")
async def page(page: web.PageParams, price: Annotated[int | None, Query(ge=1)] = None) -> list[int]:
    return [page.limit, len(page.cursor or ""), price or 0]


@router.get("/v1/origin")
async def seen(_caller: OptionalCaller) -> Seen:
    return Seen.model_validate(audit.origin.get())


@router.get("/v1/staff")
async def staff_only(caller: Staff) -> UUID:
    return caller.user_id


@router.put("/v1/things/{thing_id}")
async def change(thing_id: UUID, version: web.IfMatch) -> int:
    return version


@router.get("/v1/refused/{kind}")
async def refuse(kind: str) -> None:
    raise {
        "sold": Conflict("It is sold.", state="SOLD"),
        "early": NotYetKnown("The contract has not arrived."),
        "often": TooManyRequests("Slower.", retry_after_seconds=7),
        "amount": Invalid("More than the price.", field="amount"),
        "bug": RuntimeError("postgresql://escrow_app:hunter2@db SELECT * FROM ledger"),
    }[kind]


@router.get("/v1/database")
async def ask_database(session: Transaction) -> int:
    return await session.scalar(sa.text("SELECT 1")) or 0


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "environment": "test",
        "database_url": "postgresql://things_app:x@127.0.0.1:9/none",
        "ops_port": 0,
        "public_url": ISSUER,
        "jwt_issuer": ISSUER,
        "jwks_url": "http://127.0.0.1:9/jwks.json",
    }
    return Settings(**(values | changes))


issuer = TestIssuer()


def app_of(settings: Settings) -> FastAPI:
    return web.create_app(
        settings,
        "Things",
        routers=[router],
        sessions=Sessions(create_engine(settings)),
        keys=issuer.key_source(),
    )


def client_of(app: FastAPI, peer: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(peer, 4000))
    return httpx.AsyncClient(transport=transport, base_url="http://things")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(settings())) as client:
        yield client


@pytest.fixture
def signed_in() -> dict[str, str]:
    return issuer.authorization(USER)


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["instance"] == response.request.url.path
    assert body["type"].startswith("https://bloxtr8.dev/problems/")
    return body


async def test_a_good_request_is_answered(
    client: httpx.AsyncClient, signed_in: dict[str, str]
) -> None:
    answer = await client.post(f"/v1/things/{USER}", json={"amount": 50}, headers=signed_in)
    assert answer.status_code == 201
    assert answer.json() == {"id": str(USER), "amount": 50, "owner_id": str(USER)}


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, "Bearer"),
        ("Bearer", 'Bearer error="invalid_token"'),
        ("Bearer nonsense", 'Bearer error="invalid_token"'),
        ("Basic YTpi", 'Bearer error="invalid_token"'),
    ],
)
async def test_without_a_valid_token_the_answer_is_401(
    client: httpx.AsyncClient, authorization: str | None, challenge: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = await client.post(f"/v1/things/{USER}", json={"amount": 50}, headers=headers)
    assert problem(answer)["type"] == "https://bloxtr8.dev/problems/unauthorized"
    assert answer.headers["www-authenticate"] == challenge
    assert set(answer.json()) == {"type", "title", "status", "detail", "instance"}


async def test_a_bad_token_is_refused_even_where_none_is_needed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/origin")).status_code == 200
    answer = await client.get("/v1/origin", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401


async def test_only_staff_passes_the_staff_door(client: httpx.AsyncClient) -> None:
    for roles, status in (((), 403), (("user",), 403), (("moderator",), 200), (("admin",), 200)):
        answer = await client.get("/v1/staff", headers=issuer.authorization(USER, roles=roles))
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"amount": 1.0}', "amount"),
        ('{"amount": 1e3}', "amount"),
        ('{"amount": "1"}', "amount"),
        ('{"amount": "\\u0661"}', "amount"),
        ('{"amount": true}', "amount"),
        ('{"amount": NaN}', "amount"),
        ('{"amount": Infinity}', "amount"),
        ('{"amount": 0}', "amount"),
        ('{"amount": -1}', "amount"),
        ('{"amount": 1000000000001}', "amount"),
        ('{"amount": 9223372036854775808}', "amount"),
        ('{"amount": null}', "amount"),
        ("{}", "amount"),
        ('{"amount": 1, "status": "SOLD"}', "status"),
        ('{"amount": 1, "owner_id": "x"}', "owner_id"),
        ('{"amount": 1, "tags": ["a", 2]}', "tags.1"),
        ('{"amount": 1, "note": "a\\u0000b"}', "body"),
        ('{"amount": 1, "note": "\\ud800"}', "body"),
        ('{"amount": 1, "a\\u0000": 1}', "body"),
        ('{"amount": 1, "note": ' + "[" * 30 + "]" * 30 + "}", "body"),
        ("[]", "body"),
        ("{", "body"),
        ("", "body"),
    ],
)
async def test_a_body_that_breaks_its_shape_is_422_and_names_the_field(
    client: httpx.AsyncClient, signed_in: dict[str, str], body: str, field: str
) -> None:
    answer = await client.post(f"/v1/things/{USER}", content=body, headers=signed_in | JSON)
    assert answer.status_code == 422
    found = problem(answer)
    assert found["type"] == "https://bloxtr8.dev/problems/invalid-request"
    assert [error["field"] for error in found["errors"]] == [field]


async def test_a_path_and_a_query_are_checked_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/things", params={"limit": 101, "price": 0})
    assert [error["field"] for error in problem(answer)["errors"]] == ["limit", "price"]
    assert (await client.get("/v1/things", params={"limit": 100})).json() == [100, 0, 0]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_that_is_not_called_json_is_415(
    client: httpx.AsyncClient, signed_in: dict[str, str], content_type: str | None
) -> None:
    headers = signed_in | ({"Content-Type": content_type} if content_type else {})
    answer = await client.post(f"/v1/things/{USER}", content=b'{"amount": 1}', headers=headers)
    assert problem(answer)["type"] == "https://bloxtr8.dev/problems/unsupported-media-type"
    assert answer.status_code == 415


async def test_too_deep_a_body_is_400(client: httpx.AsyncClient, signed_in: dict[str, str]) -> None:
    deep = "[" * 100_000
    answer = await client.post(f"/v1/things/{USER}", content=deep, headers=signed_in | JSON)
    assert answer.status_code == 400
    problem(answer)


async def test_more_than_a_mebibyte_is_413_declared_or_not(
    client: httpx.AsyncClient, signed_in: dict[str, str]
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1025):
            yield b" " * 1024

    exact = b'{"amount": 1}'.ljust(1024 * 1024)
    for body, status in ((exact, 201), (exact + b" ", 413), (chunks(), 413)):
        answer = await client.post(f"/v1/things/{USER}", content=body, headers=signed_in | JSON)
        assert answer.status_code == status
    assert problem(answer)["type"] == "https://bloxtr8.dev/problems/content-too-large"


async def test_refusals_keep_their_code_their_state_and_their_patience(
    client: httpx.AsyncClient,
) -> None:
    sold = await client.get("/v1/refused/sold")
    assert sold.status_code == 409
    assert problem(sold) == {
        "type": "https://bloxtr8.dev/problems/conflict",
        "title": "The current state forbids this",
        "status": 409,
        "detail": "It is sold.",
        "instance": "/v1/refused/sold",
        "state": "SOLD",
    }
    early = await client.get("/v1/refused/early")
    assert (early.status_code, early.headers["retry-after"]) == (409, "1")
    assert problem(early)["type"] == "https://bloxtr8.dev/problems/not-yet-known"
    often = await client.get("/v1/refused/often")
    assert (often.status_code, often.headers["retry-after"]) == (429, "7")
    amount = await client.get("/v1/refused/amount")
    assert amount.status_code == 422
    assert problem(amount)["errors"] == [{"field": "amount", "message": "More than the price."}]


async def test_a_failure_of_ours_tells_nothing(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        answer = await client.get("/v1/refused/bug")
    assert [entry["event"] for entry in logs] == ["http.failed", "http.answered"]
    assert answer.status_code == 500
    assert problem(answer) == {
        "type": "https://bloxtr8.dev/problems/internal-server-error",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "Something went wrong on our side.",
        "instance": "/v1/refused/bug",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_unreachable_database_is_503_with_patience(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/database")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert problem(answer)["type"] == "https://bloxtr8.dev/problems/unavailable"


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    assert problem(await client.get("/v1/nothing"))["status"] == 404
    assert (await client.get("/v1/things/")).status_code == 404
    answer = await client.delete("/v1/things")
    assert (problem(answer)["status"], answer.headers["allow"]) == (405, "GET")
    for path in ("/docs", "/redoc", "/openapi.json", "/metrics", "/health/ready"):
        assert (await client.get(path)).status_code == 404


async def test_if_match_is_a_version_of_ours(client: httpx.AsyncClient) -> None:
    path = f"/v1/things/{USER}"
    assert problem(await client.put(path))["status"] == 428
    for text in ('"7"', "7", 'W/"7"'):
        assert (await client.put(path, headers={"If-Match": text})).json() == 7
    for text in ("*", '"x"', '"1", "2"', "-1", "9" * 30):
        answer = await client.put(path, headers={"If-Match": text})
        assert problem(answer)["type"] == "https://bloxtr8.dev/problems/precondition-failed"


async def test_the_origin_is_believed_from_a_trusted_proxy_only() -> None:
    said = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Request-Id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "User-Agent": "test/1",
    }
    app = app_of(settings())
    async with client_of(app, "10.1.2.3") as gateway, client_of(app, "198.51.100.7") as stranger:
        by_gateway = await gateway.get("/v1/origin", headers=said)
        by_stranger = await stranger.get("/v1/origin", headers=said)
        by_itself = await gateway.get("/v1/origin", headers={"User-Agent": "", "X-Request-Id": "'"})
        twice = await gateway.get(
            "/v1/origin", headers={"X-Forwarded-For": "1.1.1.1, 203.0.113.9, 10.0.0.1"}
        )
        junk = await gateway.get("/v1/origin", headers={"X-Forwarded-For": "evil\x1b[31m"})
    assert by_gateway.json() == {
        "request_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "ip": "203.0.113.9",
        "user_agent": "test/1",
        "actor_id": None,
        "client": None,
    }
    assert by_gateway.headers["x-request-id"] == "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert by_stranger.json()["ip"] == "198.51.100.7"
    assert UUID(by_stranger.json()["request_id"]).version == 7
    assert by_stranger.headers["x-request-id"] == by_stranger.json()["request_id"]
    assert (by_itself.json()["ip"], by_itself.json()["user_agent"]) == ("10.1.2.3", None)
    assert UUID(by_itself.json()["request_id"]).version == 7
    assert twice.json()["ip"] == "203.0.113.9"
    assert junk.json()["ip"] == "10.1.2.3"


async def test_the_token_completes_the_origin(client: httpx.AsyncClient) -> None:
    headers = issuer.authorization(USER, act="discord")
    seen = (await client.get("/v1/origin", headers=headers)).json()
    assert (seen["actor_id"], seen["client"]) == (str(USER), "discord")
    assert (await client.get("/v1/origin")).json()["actor_id"] is None


async def test_answers_carry_security_headers(client: httpx.AsyncClient) -> None:
    plain = (await client.get("/v1/things")).headers
    assert plain["x-content-type-options"] == "nosniff"
    assert plain["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert plain["referrer-policy"] == "no-referrer"
    assert plain["cache-control"] == "no-store"
    assert "strict-transport-security" not in plain
    assert "server" not in plain
    async with client_of(app_of(settings(public_url="https://bloxtr8.example"))) as secure:
        secured = (await secure.get("/v1/nothing")).headers
    assert secured["strict-transport-security"] == "max-age=63072000; includeSubDomains"


async def test_a_request_is_one_span_of_the_trace_that_it_brings(client: httpx.AsyncClient) -> None:
    spans = InMemorySpanExporter()
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    await client.get("/v1/open", headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    [span] = spans.get_finished_spans()
    assert span.context is not None
    assert trace.format_trace_id(span.context.trace_id) == trace_id


def test_a_cursor_comes_back_as_it_was_made() -> None:
    moment, thing = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), uuid4()
    cursor = web.encode_cursor(moment, thing, 5, "é:,")
    assert web.decode_cursor(cursor, 4, datetime.fromisoformat, UUID, int, str) == [
        moment,
        thing,
        5,
        "é:,",
    ]
    assert web.decode_cursor(cursor, 4) == [moment.isoformat(), str(thing), "5", "é:,"]


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "!", "é", "bnVsbA", "e30", "WzFd"),
        web.encode_cursor("x"),
        web.encode_cursor(1, 2),
        web.encode_cursor("\x00", "y"),
    ],
)
def test_a_foreign_cursor_is_invalid(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        web.decode_cursor(cursor, 2, int, UUID)
    assert refused.value.field == "cursor"


async def test_openapi_tells_every_refusal(client: httpx.AsyncClient) -> None:
    document = (await client.get("/v1/things/openapi.json")).json()
    making = document["paths"]["/v1/things/{thing_id}"]["post"]["responses"]
    assert sorted(making) == ["201", "401", "404", "413", "415", "422", "500", "503"]
    for status, said in making.items():
        if status != "201":
            assert said["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
    assert making["404"]["description"] == "Not found (`not-found`)"
    assert "401" not in document["paths"]["/v1/things"]["get"]["responses"]
    assert set(document["components"]["schemas"]["Problem"]["required"]) == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
    }
    assert "HTTPValidationError" not in json.dumps(document)
