"""What operators ask each process: is it alive, can it work, what does it count."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Self

import prometheus_client
import sqlalchemy as sa
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

CHECK_WITHIN_SECONDS = 3


class Server(uvicorn.Server):
    """A server that leaves the signals to the process it shares with other work."""

    @classmethod
    def of(cls, app: ASGIApp, host: str, port: int, *, stop_within_seconds: int = 5) -> Self:
        return cls(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http="httptools",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=stop_within_seconds,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


Check = Callable[[], Awaitable[None]]
"""Raises when its part is down."""


def database_check(engine: AsyncEngine) -> Check:
    async def check() -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    return check


async def _line(name: str, check: Check) -> tuple[str, bool]:
    try:
        await asyncio.wait_for(check(), CHECK_WITHIN_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is down
        return f"{name}: down ({type(error).__name__})", False
    return f"{name}: ok", True


def create_ops_app(
    parts: Mapping[str, Check],
    *,
    refresh_metrics: Check | None = None,
    is_stuck: Callable[[], bool] = lambda: False,
) -> Starlette:
    """`/health/live`, `/health/ready` (a line per part, 503 if one is down) and `/metrics`.

    Liveness ignores the parts, since a restart mends no database: 503 is for a process that has
    work it could do and does not do it.
    """

    async def live(_request: Request) -> Response:
        return PlainTextResponse("stuck\n", 503) if is_stuck() else PlainTextResponse("alive\n")

    async def ready(_request: Request) -> Response:
        lines = await asyncio.gather(*(_line(name, check) for name, check in parts.items()))
        body = "".join(f"{text}\n" for text, _ in lines)
        return PlainTextResponse(body, 200 if all(is_up for _, is_up in lines) else 503)

    async def metrics(_request: Request) -> Response:
        if refresh_metrics is not None:
            await _line("metrics", refresh_metrics)
        return Response(
            prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST
        )

    return Starlette(
        routes=[
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", metrics),
        ]
    )
