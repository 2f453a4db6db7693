"""The background process of escrow: wiring only."""

from escrow.deadlines import EXPIRIES
from escrow.evidence.storage import Storage
from escrow.evidence_jobs import EvidenceJobs
from escrow.jobs import StripeJobs
from escrow.rails.stripe import StripeRail
from escrow.settings import Settings
from escrow.subscribers import subscribe
from shared import worker
from shared.database import Sessions
from shared.deadlines import DeadlineTicker
from shared.jobs import JobRunner

RUNNERS = 3
"""A call that hangs must not hold up the others."""


def build(settings: Settings, sessions: Sessions) -> worker.WorkerParts:
    rail = StripeRail(settings, sessions)
    works = StripeJobs(sessions, rail, settings.environment).works()
    return worker.WorkerParts(
        subscribe=lambda broker: subscribe(broker, settings),
        runners=[
            *(JobRunner(sessions, works) for _ in range(RUNNERS)),
            JobRunner(sessions, EvidenceJobs(sessions, Storage(settings)).works()),
        ],
        ticker=DeadlineTicker(sessions, EXPIRIES),
        close=rail.close,
    )


if __name__ == "__main__":
    settings = Settings()
    worker.run(settings, lambda _, sessions: build(settings, sessions))
