"""The simulators on a real port, reached by the real SDK, and the SDK's own word on answers."""

import ast
import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from simulators.app import Settings, create_app

API_KEY = "sk_test_bloxtr8"
SECRET = "whsec_test"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Receiver:
    """Somebody's webhook endpoint: keeps what it is sent; `status` is what it answers."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.status = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await Request(scope, receive).body()
        signature = dict(scope["headers"])[b"stripe-signature"].decode()
        event = stripe.Webhook.construct_event(body, signature, SECRET)
        self.events.append(event)
        await Response(status_code=self.status)(scope, receive, send)


async def _serve(app: Any, port: int) -> tuple[uvicorn.Server, asyncio.Task[None]]:
    config = uvicorn.Config(app, port=port, log_level="error", lifespan="auto")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    return server, task


@pytest.fixture
async def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
async def world(receiver: Receiver, state_file: Path) -> AsyncIterator[str]:
    """The address of freshly started simulators."""
    port, hook = _free_port(), _free_port()
    settings = Settings(
        port=port,
        stripe_webhook_url=f"http://127.0.0.1:{hook}/",
        stripe_webhook_secret=SECRET,
        stripe_api_key=API_KEY,
        discord_client_id="bloxtr8",
        discord_client_secret="discord-secret",
        roblox_client_id="bloxtr8",
        roblox_client_secret="roblox-secret",
        state_file=state_file,
    )
    running = [await _serve(receiver, hook), await _serve(create_app(settings), port)]
    yield f"http://127.0.0.1:{port}"
    for server, task in running:
        server.should_exit = True
        await task


@pytest.fixture
def client(world: str) -> stripe.StripeClient:
    """The product's own kind of client."""
    return stripe.StripeClient(
        API_KEY,
        base_addresses={"api": f"{world}/stripe"},
        http_client=stripe.HTTPXClient(timeout=5),
        max_network_retries=0,
    )


@pytest.fixture
async def control(world: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=world, timeout=5) as http:
        yield http


def _fields(kind: type) -> dict[str, str]:
    """The annotated fields of an SDK class, as their source says them."""
    [definition] = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        item.target.id: ast.unparse(item.annotation)
        for item in definition.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }


@pytest.fixture
def complaints() -> Callable[[type, dict[str, Any]], list[str]]:
    """What the SDK's generated types find wrong with an object."""

    def check(kind: type, thing: dict[str, Any]) -> list[str]:
        fields = _fields(kind)
        found = [f"unknown {name}" for name in thing if name not in fields]
        for name, annotation in fields.items():
            is_optional = annotation.startswith("Optional[")
            if name not in thing:
                if not is_optional and not annotation.startswith("ClassVar"):
                    found.append(f"missing {name}")
                continue
            value, bare = thing[name], annotation.removeprefix("Optional[")
            if value is None:
                if not is_optional:
                    found.append(f"null {name}")
            elif bare.startswith("int") and type(value) is not int:
                found.append(f"not an int {name}")
            elif bare.startswith("Literal[") and repr(value) not in bare:
                found.append(f"{value} is no {name}")
        return found

    return check
