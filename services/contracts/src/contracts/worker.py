"""The background process: `python -m contracts.worker`."""

from contracts.documents.press import Press
from contracts.documents.storage import Storage
from contracts.jobs import Works, expiries
from contracts.models import ContractExecutionJob
from contracts.settings import Settings
from contracts.subscribers import subscribe
from contracts.use_cases import CREATION, PICTURE
from shared import worker
from shared.database import Sessions
from shared.deadlines import DeadlineTicker
from shared.jobs import JobRunner
from shared.worker import WorkerParts


def build(settings: Settings, sessions: Sessions) -> WorkerParts:
    storage = Storage(settings)
    press = Press(*settings.sealing)
    works = Works(sessions, storage, press, pictures_origin=settings.pictures_origin)
    return WorkerParts(
        subscribe=lambda broker: subscribe(broker, settings),
        runners=[
            JobRunner(sessions, {CREATION: works.creation}),
            JobRunner(sessions, {PICTURE: works.picture}),
            JobRunner(
                sessions,
                works.execution,
                ContractExecutionJob,
                retry_delays_seconds=settings.retry_delays_seconds,
            ),
        ],
        ticker=DeadlineTicker(sessions, expiries()),
        parts={"storage": storage.check},
        close=press.close,
    )


def main() -> None:
    settings = Settings()
    worker.run(settings, lambda _, sessions: build(settings, sessions))


if __name__ == "__main__":
    main()
