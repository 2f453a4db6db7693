"""The HTTP process of escrow: wiring only."""

from fastapi import FastAPI

from escrow.evidence.storage import Storage
from escrow.rails.stripe import StripeRail
from escrow.routes import (
    books,
    disputes,
    escrows,
    evidence,
    holds,
    milestones,
    packages,
    payout_accounts,
    webhooks,
)
from escrow.routes.outside import Outside
from escrow.settings import Settings
from shared import web
from shared.auth import KeySource
from shared.database import Sessions, create_engine


def create_app(
    settings: Settings, sessions: Sessions | None = None, keys: KeySource | None = None
) -> FastAPI:
    sessions = sessions or Sessions(create_engine(settings))
    app = web.create_app(
        settings,
        "Bloxtr8 escrow",
        routers=[
            escrows.router,
            milestones.router,
            disputes.router,
            evidence.router,
            holds.router,
            books.router,
            packages.router,
            payout_accounts.router,
            webhooks.router,
        ],
        sessions=sessions,
        keys=keys,
    )
    app.state.outside = Outside(settings, sessions, StripeRail(settings, sessions))
    app.state.storage = Storage(settings)
    return app


if __name__ == "__main__":
    settings = Settings()
    web.run(lambda: create_app(settings), settings)
