"""The HTTP process: `python -m contracts.api`."""

from fastapi import FastAPI

from contracts.documents.storage import Storage
from contracts.routes import ROUTERS, verify
from contracts.settings import Settings
from shared import web
from shared.auth import KeySource
from shared.database import Sessions, create_engine


def create_app(settings: Settings, sessions: Sessions, keys: KeySource | None = None) -> FastAPI:
    app = web.create_app(
        settings,
        "Bloxtr8 contracts",
        routers=ROUTERS,
        sessions=sessions,
        keys=keys,
        body_limits={verify.PATH: verify.LARGEST_FILE_BYTES},
    )
    app.state.storage = Storage(settings)
    return app


def main() -> None:
    settings = Settings()
    web.run(lambda: create_app(settings, Sessions(create_engine(settings))), settings)


if __name__ == "__main__":
    main()
