"""The HTTP process of listings: wiring only."""

from fastapi import FastAPI

from listings.routes import router
from listings.settings import Settings
from shared import web
from shared.auth import KeySource
from shared.database import Sessions, create_engine


def create_app(
    settings: Settings, sessions: Sessions | None = None, keys: KeySource | None = None
) -> FastAPI:
    sessions = sessions or Sessions(create_engine(settings))
    return web.create_app(
        settings, "Bloxtr8 listings", routers=[router], sessions=sessions, keys=keys
    )


if __name__ == "__main__":
    settings = Settings()
    web.run(lambda: create_app(settings), settings)
