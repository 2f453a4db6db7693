"""The api over its own database, with the simulated Discord and Roblox as the outside."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from identity.api import create_app
from identity.settings import Settings
from identity.worker import build
from shared.jobs import JobRunner
from shared.testing import Database, Stack, database_for

server, database, session, clock = database_for("identity")


@pytest.fixture(scope="session")
def outside(postgres_server: Stack) -> str:
    """The simulators' address."""
    postgres_server.start("simulators")
    return postgres_server.simulators_url


@pytest.fixture(scope="session")
async def web(outside: str) -> AsyncIterator[httpx.AsyncClient]:
    """Goes to the simulators; one for all tests, as to make it takes longer than most of them."""
    async with httpx.AsyncClient(base_url=outside) as client:
        yield client


@pytest.fixture
def settings(database: Database, outside: str, postgres_server: Stack) -> Settings:
    known: dict[str, Any] = {
        name.removeprefix("IDENTITY_").lower(): value
        for name, value in postgres_server.env("identity.api").items()
        if name.startswith("IDENTITY_")
    }
    assert outside in known["discord_api_url"]
    known |= {
        "database_url": database.app_dsn,
        "outside_timeout_seconds": 5,
        "sign_in_starts_per_minute": 20,
    }
    return Settings.model_validate(known)


class Browser:
    """One browser: its cookies, and after a sign-in its tokens."""

    def __init__(self, app: Any, settings: Settings, web: httpx.AsyncClient) -> None:
        self.web = web
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        self.http = httpx.AsyncClient(transport=transport, base_url=settings.public_url)
        self.session_token = ""

    async def go(self, provider: str, login: str) -> str:
        """Start at the service and log in at the provider; returns the way back."""
        started = await self.http.post(f"/v1/auth/{provider}/start", json={})
        assert started.status_code == 200, started.text
        page = started.json()["authorization_url"]
        redirect = await self.web.get(f"{page}&login={login}")
        back = urlsplit(redirect.headers["Location"])
        return f"{back.path}?{back.query}"

    async def sign_in(self, login: str) -> dict[str, Any]:
        answer = await self.http.get(await self.go("discord", login))
        assert answer.status_code == 200, answer.text
        self.session_token = answer.json()["session_token"]
        await self.renew()
        user: dict[str, Any] = answer.json()["user"]
        return user

    async def token(self) -> httpx.Response:
        return await self.http.post(
            "/v1/auth/token", headers={"Authorization": f"Bearer {self.session_token}"}
        )

    async def renew(self) -> None:
        bought = await self.token()
        self.http.headers["Authorization"] = f"Bearer {bought.json()['access_token']}"

    async def link(self, login: str) -> httpx.Response:
        answer = await self.http.get(await self.go("roblox", login))
        await self.renew()
        return answer


@pytest.fixture
async def browsers(
    database: Database, settings: Settings, web: httpx.AsyncClient
) -> AsyncIterator[Any]:
    """Opens browsers."""
    app = create_app(settings, database.sessions)
    opened: list[Browser] = []

    def open_browser() -> Browser:
        opened.append(Browser(app, settings, web))
        return opened[-1]

    yield open_browser
    for browser in opened:
        await browser.http.aclose()


@pytest.fixture
async def runner(database: Database, settings: Settings) -> AsyncIterator[JobRunner[Any]]:
    parts = build(settings, database.sessions)
    yield parts.runners[0]
    assert parts.close is not None
    await parts.close()


@pytest.fixture
async def roblox_fails(web: httpx.AsyncClient) -> AsyncIterator[Any]:
    """Makes the simulated Roblox answer with an error until told otherwise."""

    async def fail(path: str, status: int, times: int = 100, **headers: str) -> None:
        rule = {
            "path": path,
            "action": "fail",
            "status": status,
            "times": times,
            "headers": headers,
        }
        await web.post("/roblox/_sim/rules", json=rule)

    yield fail
    await web.delete("/roblox/_sim/rules")
