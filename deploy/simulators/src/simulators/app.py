"""The outside world as one ASGI app: `/stripe`, `/discord`, `/roblox`, each with `/_sim`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, FastAPI
from pydantic_settings import BaseSettings, SettingsConfigDict

from simulators import discord, roblox, stripe_webhooks
from simulators.faults import Faults
from simulators.oauth import Client
from simulators.state import State
from simulators.stripe_api import StripeApi
from simulators.stripe_webhooks import Webhooks


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SIMULATORS_", frozen=True)

    host: str = "127.0.0.1"
    port: int
    base_url: str = ""
    """How others reach this process; by default http://host:port."""
    stripe_webhook_url: str
    stripe_webhook_secret: str
    stripe_api_key: str
    discord_client_id: str
    discord_client_secret: str
    roblox_client_id: str
    roblox_client_secret: str
    state_file: Path | None = None


def _part(routers: list[APIRouter]) -> Faults:
    """One simulator with its faults around it."""
    inner = FastAPI(openapi_url=None, redirect_slashes=False)
    faulty = Faults(inner)
    for router in (*routers, faulty.router()):
        inner.include_router(router)
    return faulty


def create_app(settings: Settings) -> FastAPI:
    state = State(settings.state_file)
    base = settings.base_url or f"http://{settings.host}:{settings.port}"
    webhooks = Webhooks(state, settings.stripe_webhook_url, settings.stripe_webhook_secret)
    stripe_api = StripeApi(state, settings.stripe_api_key, f"{base}/stripe", webhooks)
    world = roblox.World(state)
    discord_client = Client(settings.discord_client_id, settings.discord_client_secret)
    roblox_client = Client(settings.roblox_client_id, settings.roblox_client_secret)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        delivering = asyncio.create_task(webhooks.run())
        yield
        delivering.cancel()

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)

    @app.get("/health/ready")
    async def ready() -> str:
        return "ready"

    app.mount(
        "/stripe",
        _part([stripe_api.router(), stripe_webhooks.control_router(state, webhooks)]),
    )
    app.mount("/discord", _part([discord.router(state, discord_client)]))
    app.mount(
        "/roblox",
        _part(
            [
                roblox.oauth_router(state, roblox_client, f"{base}/roblox/oauth"),
                roblox.public_router(world, f"{base}/roblox"),
                roblox.control_router(world),
            ]
        ),
    )
    return app
