"""The HTTP process of identity: wiring only."""

from fastapi import FastAPI

from identity.providers import Providers
from identity.roblox import Roblox
from identity.routes import Outside, router
from identity.secrets_at_rest import Vault
from identity.settings import Settings
from identity.tokens import OwnKeys
from shared import web
from shared.auth import KeySource
from shared.database import Sessions, create_engine


def create_app(
    settings: Settings, sessions: Sessions | None = None, keys: KeySource | None = None
) -> FastAPI:
    sessions = sessions or Sessions(create_engine(settings))
    app = web.create_app(
        settings,
        "Bloxtr8 identity",
        routers=[router],
        sessions=sessions,
        keys=keys or OwnKeys(sessions),
    )
    vault = Vault(settings.encryption_key.get_secret_value())
    app.state.outside = Outside(settings, sessions, Providers(settings), Roblox(settings), vault)
    return app


if __name__ == "__main__":
    settings = Settings()
    web.run(lambda: create_app(settings), settings)
