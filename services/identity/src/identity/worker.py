"""The background process of identity: wiring only."""

from identity import use_cases, watching
from identity.jobs import VERIFICATION_EXPIRY, verify_ownership
from identity.roblox import Roblox
from identity.settings import Settings
from identity.subscribers import subscribe
from shared import worker
from shared.database import Sessions
from shared.deadlines import DeadlineTicker
from shared.jobs import JobRunner


def build(settings: Settings, sessions: Sessions) -> worker.WorkerParts:
    roblox = Roblox(settings)
    works = {
        use_cases.VERIFY_JOB: verify_ownership(roblox),
        watching.WATCH_JOB: watching.watch_transfer(sessions, roblox),
    }
    return worker.WorkerParts(
        subscribe=lambda broker: subscribe(broker, settings),
        runners=[JobRunner(sessions, works)],
        ticker=DeadlineTicker(sessions, {use_cases.VERIFICATION_EXPIRY: VERIFICATION_EXPIRY}),
        close=roblox.close,
    )


if __name__ == "__main__":
    settings = Settings()
    worker.run(settings, lambda _, sessions: build(settings, sessions))
