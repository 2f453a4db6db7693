"""How every api meets the world: one app recipe, one way to page, one way to start and stop."""

import asyncio
import base64
import binascii
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, Query
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel, ConfigDict, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from shared import health, idempotency, problems, process
from shared.auth import KeySource, PublishedKeys
from shared.database import Sessions
from shared.edge import Edge
from shared.errors import Invalid, PreconditionFailed
from shared.problems import PreconditionRequired
from shared.settings import ServiceSettings
from shared.wakeups import Notifier

__all__ = [
    "IfMatch",
    "Page",
    "PageParams",
    "PreconditionFailed",
    "RequestBody",
    "View",
    "create_app",
    "decode_cursor",
    "encode_cursor",
    "run",
]

KEPT_ALIVE_SECONDS = 150
"""Longer than the gateway keeps a connection (2 min): whoever may write next must be the one to
close, or a request meets a closing connection and is lost.
"""
STOP_WITHIN_SECONDS = 10
LEFT_TO_US: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI's spans would be traces of their own beside ours, its measurements go nowhere."""
_MAX_BODY_DEPTH = 20
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ETAG = re.compile(r'(?:W/)?"?(\d{1,18})"?')


class RequestBody(BaseModel):
    """Base of request bodies: unknown fields, NaN and text that no database keeps are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def refuse_what_cannot_be_stored(cls, data: Any) -> Any:
        _check_storable(data, _MAX_BODY_DEPTH)
        return data


def _check_storable(value: Any, depth_left: int) -> None:
    if depth_left == 0:
        raise ValueError("The body is nested too deeply.")
    match value:
        case str() if _UNSTORABLE.search(value):
            raise ValueError("Text must not contain NUL or half of a surrogate pair.")
        case dict():
            for name, member in value.items():
                _check_storable(name, depth_left - 1)
                _check_storable(member, depth_left - 1)
        case list():
            for member in value:
                _check_storable(member, depth_left - 1)


class View(BaseModel):
    """Base of response bodies; may be read straight from a row."""

    model_config = ConfigDict(from_attributes=True)


Item = TypeVar("Item")


class Page(View, Generic[Item]):
    """One page of a list; `next_cursor` is None on the last one."""

    items: list[Item]
    next_cursor: str | None = None


@dataclass(frozen=True)
class PageRequest:
    limit: int
    cursor: str | None


async def _page(
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> PageRequest:
    return PageRequest(limit, cursor)


PageParams = Annotated[PageRequest, Depends(_page)]


def encode_cursor(*values: str | int | datetime | UUID) -> str:
    """The sort values of a page's last row, for the client to hand back."""
    texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps(texts).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, n: int, *parse: Callable[[str], Any]) -> list[Any]:
    """The `n` values of a cursor, each read by its `parse` (`int`, `UUID`,
    `datetime.fromisoformat`); without one they stay text.

    Raises:
        Invalid: it is not a cursor that we made for such a list.
    """
    readers: Sequence[Callable[[str], Any]] = parse or [str] * n
    try:
        texts = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
        _check_storable(texts, 2)
        return [read(str(text)) for read, text in zip(readers, texts, strict=True)]
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise Invalid("This cursor was not made for this list.", field="cursor") from error


async def _if_match(if_match: Annotated[str | None, Header(max_length=100)] = None) -> int:
    if if_match is None:
        raise PreconditionRequired("Send If-Match with the version that you have read.")
    version = _ETAG.fullmatch(if_match.strip())
    if version is None:
        raise PreconditionFailed("If-Match names no version of ours.")
    return int(version[1])


IfMatch = Annotated[int, Depends(_if_match)]
"""The version the client has read; 428 without the header, 412 for one that cannot match."""


class Api(FastAPI):
    """FastAPI whose OpenAPI tells the problems that every route may answer with, and its key."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            document = get_openapi(title=self.title, version=self.version, routes=self.routes)
            idempotency.tell(document, self.routes)
            _tell_problems(document)
            self.openapi_schema = document
        return self.openapi_schema


def _tell_problems(document: dict[str, Any]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}), Problem=problem)
    for operation in (found for path in document["paths"].values() for found in path.values()):
        answers = operation["responses"]
        if "422" in answers and problems.MEDIA_TYPE not in answers["422"].get("content", {}):
            del answers["422"]
        usual = ["422", "500", "503"]
        usual += ["401"] if operation.get("security") else []
        usual += ["413", "415"] if "requestBody" in operation else []
        for status in sorted(usual):
            answers.setdefault(status, problems.of_usual(int(status)))


def create_app(
    settings: ServiceSettings,
    title: str,
    *,
    routers: Sequence[APIRouter],
    sessions: Sessions,
    keys: KeySource | None = None,
    body_limits: Mapping[str, int] = MappingProxyType({}),
) -> FastAPI:
    """The app of one service's api.

    Args:
        settings: the service's; its `env_prefix` names the service in the OpenAPI path.
        title: what the OpenAPI document is called.
        routers: every route, with its full path.
        sessions: transactions of requests are opened from these.
        keys: where token keys come from; identity's published ones by default.
        body_limits: bytes that paths read which read more than others.
    """
    service = settings.service

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with Notifier(settings):
            yield

    app = Api(
        title=title,
        version="1",
        openapi_url=f"/v1/{service}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=LEFT_TO_US,
    )
    app.state.settings = settings
    app.state.sessions = sessions
    app.state.keys = keys or PublishedKeys(sessions, settings.jwks_url)
    problems.install(app)
    app.add_middleware(
        Edge,
        trusted=settings.trusted_proxies,
        is_https=settings.public_url.startswith("https://"),
        body_limits=body_limits,
    )
    for router in routers:
        # Its routes, not the router: every request would look for its route twice.
        app.router.routes.extend(router.routes)
    return app


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process it shares with another server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(app: FastAPI, settings: ServiceSettings) -> None:
    engine: AsyncEngine = app.state.sessions.engine
    ops_app = health.create_ops_app({"database": health.database_check(engine)})

    def server(served: ASGIApp, port: int) -> _Server:
        return _Server(
            uvicorn.Config(
                served,
                host=settings.host,
                port=port,
                http="httptools",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEPT_ALIVE_SECONDS,
                timeout_graceful_shutdown=STOP_WITHIN_SECONDS,
            )
        )

    api, ops = server(app, settings.port), server(ops_app, settings.ops_port)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, setattr, api, "should_exit", True)
    watching = asyncio.create_task(ops.serve())
    process.settle()
    # Health answers until the last request has been served.
    await api.serve()
    ops.should_exit = True
    await watching
    await engine.dispose()


def run(build: Callable[[], FastAPI], settings: ServiceSettings) -> None:
    """The api's main: serve until SIGTERM, then finish what is being answered.

    The API listens on `port`, health and metrics on `ops_port`, in one event loop.
    """

    async def main() -> None:
        await _serve(build(), settings)

    process.run(settings, "api", main)
