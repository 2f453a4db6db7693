"""The simulators on a real port, reached by the real SDK."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
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
        self.url = ""
        self.events: list[Any] = []
        self.status = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await Request(scope, receive).body()
        signature = dict(scope["headers"])[b"stripe-signature"].decode()
        self.events.append(stripe.Webhook.construct_event(body, signature, SECRET))
        await Response(status_code=self.status)(scope, receive, send)

    async def until(self, holds: Callable[[list[Any]], Any]) -> None:
        async with asyncio.timeout(10):
            while not holds(self.events):
                await asyncio.sleep(0.02)


class Served:
    """An app on a real port."""

    def __init__(self, app: Any, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        config = uvicorn.Config(app, port=port, log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._task = asyncio.create_task(self._server.serve())

    async def started(self) -> "Served":
        while not self._server.started:
            await asyncio.sleep(0.005)
        return self

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task


@pytest.fixture(scope="session")
async def _receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    served = await Served(receiver, _free_port()).started()
    receiver.url = served.url
    yield receiver
    await served.stop()


Start = Callable[..., Awaitable[Served]]


@pytest.fixture(scope="session")
async def start(_receiver: Receiver) -> Start:
    """Starts simulators, if wanted on a state file."""

    async def start(state_file: Path | None = None) -> Served:
        port = _free_port()
        settings = Settings(
            port=port,
            stripe_webhook_url=_receiver.url,
            stripe_webhook_secret=SECRET,
            stripe_api_key=API_KEY,
            discord_client_id="bloxtr8",
            discord_client_secret="discord-secret",
            roblox_client_id="bloxtr8",
            roblox_client_secret="roblox-secret",
            state_file=state_file,
        )
        return await Served(create_app(settings), port).started()

    return start


@pytest.fixture(scope="session")
async def _world(start: Start) -> AsyncIterator[str]:
    served = await start()
    yield served.url
    await served.stop()


@pytest.fixture(scope="session")
async def _http(_world: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=_world, timeout=5) as http:
        yield http


@pytest.fixture
async def control(_http: httpx.AsyncClient) -> httpx.AsyncClient:
    """Reaches simulators that have forgotten everything."""
    for name in ("stripe", "discord", "roblox"):
        await _http.post(f"/{name}/_sim/reset")
    return _http


@pytest.fixture
async def receiver(_receiver: Receiver, control: httpx.AsyncClient) -> Receiver:
    _receiver.status = 200
    _receiver.events.clear()
    return _receiver


def client_of(url: str) -> stripe.StripeClient:
    """The product's own kind of client."""
    return stripe.StripeClient(
        API_KEY,
        base_addresses={"api": f"{url}/stripe"},
        http_client=stripe.HTTPXClient(timeout=5),
        max_network_retries=0,
    )


@pytest.fixture(scope="session")
def connect() -> Callable[[str], stripe.StripeClient]:
    return client_of


@pytest.fixture(scope="session")
def _sdk(_world: str) -> stripe.StripeClient:
    return client_of(_world)


@pytest.fixture
def client(_sdk: stripe.StripeClient, control: httpx.AsyncClient) -> stripe.StripeClient:
    return _sdk


class Shop:
    """What most stories begin with: somebody who has paid, somebody who can be paid."""

    def __init__(self, client: stripe.StripeClient, control: httpx.AsyncClient) -> None:
        self.client = client
        self.control = control

    async def intent(self, amount: int = 450_000, **params: Any) -> stripe.PaymentIntent:
        order: Any = {"amount": amount, "currency": "usd", "transfer_group": "escrow-1", **params}
        return await self.client.v1.payment_intents.create_async(order)

    async def paid(self, amount: int = 450_000, card: str = "pm_card_visa") -> stripe.PaymentIntent:
        intent = await self.intent(amount)
        return await self.client.v1.payment_intents.confirm_async(
            intent.id, {"payment_method": card}
        )

    async def account(self) -> str:
        """An account that cannot receive anything yet."""
        opened = await self.client.v2.core.accounts.create_async(
            {
                "configuration": {
                    "recipient": {
                        "capabilities": {
                            "stripe_balance": {"stripe_transfers": {"requested": True}}
                        }
                    }
                },
                "contact_email": "sasha@example.com",
                "dashboard": "express",
            }
        )
        return opened.id

    async def link(self, account_id: str) -> str:
        link = await self.client.v2.core.account_links.create_async(
            {
                "account": account_id,
                "use_case": {
                    "type": "account_onboarding",
                    "account_onboarding": {
                        "refresh_url": "https://example.com/refresh",
                        "return_url": "https://example.com/return",
                    },
                },
            }
        )
        return link.url

    async def payable(self) -> str:
        account_id = await self.account()
        page = await self.control.get(await self.link(account_id))
        assert page.status_code == 200
        return account_id

    async def transfer(self, charge: Any, to: str, amount: int = 438_750) -> stripe.Transfer:
        return await self.client.v1.transfers.create_async(
            {
                "amount": amount,
                "currency": "usd",
                "destination": to,
                "source_transaction": str(charge),
            }
        )

    async def sim(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.control.request(method, f"/stripe/_sim{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@pytest.fixture
def shop(client: stripe.StripeClient, control: httpx.AsyncClient) -> Shop:
    return Shop(client, control)
