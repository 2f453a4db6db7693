"""The background process of listings: wiring only."""

from listings import repository
from listings.settings import Settings
from listings.subscribers import subscribe
from listings.use_cases import offers
from shared import worker
from shared.database import Sessions
from shared.deadlines import DeadlineTicker, Expiry


def build(settings: Settings, sessions: Sessions) -> worker.WorkerParts:
    expiry = Expiry(lock=repository.lock_offer, expire=offers.expire)
    return worker.WorkerParts(
        subscribe=lambda broker: subscribe(broker, settings),
        ticker=DeadlineTicker(sessions, {offers.OFFER_EXPIRY: expiry}),
    )


if __name__ == "__main__":
    settings = Settings()
    worker.run(settings, lambda _, sessions: build(settings, sessions))
