"""The outside world as one ASGI app: `/stripe`, `/discord`, `/roblox`, each with `/_sim`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import APIRouter, FastAPI
from pydantic_settings import BaseSettings, SettingsConfigDict

from simulators import control, discord
from simulators.faults import Faults
from simulators.oauth import Client
from simulators.roblox import public, signin
from simulators.roblox.world import World
from simulators.state import Part, State
from simulators.stripe import control as stripe_control
from simulators.stripe.api import StripeApi
from simulators.stripe.webhooks import Webhooks


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


def _simulator(
    part: Part, *routers: APIRouter, on_reset: Callable[[], None] = lambda: None
) -> Faults:
    """One simulator with its faults around it."""
    inner = FastAPI(openapi_url=None, redirect_slashes=False)
    faulty = Faults(inner)
    for router in (control.router(part, faulty, on_reset=on_reset), *routers):
        inner.include_router(router)
    return faulty


def create_app(settings: Settings) -> FastAPI:
    state = State(settings.state_file)
    base = settings.base_url or f"http://{settings.host}:{settings.port}"
    stripe, roblox, sign_in = state.part("stripe"), state.part("roblox"), state.part("discord")
    webhooks = Webhooks(stripe, settings.stripe_webhook_url, settings.stripe_webhook_secret)
    stripe_api = StripeApi(stripe, settings.stripe_api_key, f"{base}/stripe", webhooks)
    world = World(roblox)
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
        _simulator(
            stripe,
            stripe_control.router(stripe, webhooks),
            stripe_api.router(),
            on_reset=webhooks.behave,
        ),
    )
    app.mount("/discord", _simulator(sign_in, discord.router(sign_in, discord_client)))
    app.mount(
        "/roblox",
        _simulator(
            roblox,
            signin.router(roblox, roblox_client, f"{base}/roblox/oauth"),
            public.router(world, f"{base}/roblox"),
            public.control_router(world),
        ),
    )
    return app
