"""The smallest service there could be: tests of what all services share run its worker.

`python -m shared.testing.probe` with `PROBE_…` in the environment.
"""

from typing import ClassVar
from uuid import UUID

import sqlalchemy as sa
from faststream.kafka import KafkaBroker
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared import kafka, worker
from shared.database import Model, Sessions
from shared.events import Event
from shared.jobs import Finish, Job, JobRunner, Work
from shared.settings import ServiceSettings

TABLES = """
CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cause text NOT NULL);
CREATE TABLE things (id uuid PRIMARY KEY, state text NOT NULL, moves bigint NOT NULL DEFAULT 0);
GRANT SELECT, INSERT, UPDATE, DELETE ON effects, things TO probe_app;
"""


class ProbeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_", frozen=True, extra="ignore")

    def environment_variables(self) -> dict[str, str]:
        """What a process needs in order to read these settings again."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            f"PROBE_{name.upper()}": str(
                value.get_secret_value() if isinstance(value, SecretStr) else value
            )
            for name, value in values.items()
            if value is not None and name != "trusted_proxies"
        }


class Effect(Model):
    """One row for each time that something was done."""

    __tablename__ = "effects"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    cause: Mapped[str]


class Thing(Model):
    """An aggregate."""

    __tablename__ = "things"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str]
    moves: Mapped[int] = mapped_column(default=0)


class Happened(Event):
    """A fact that the probe listens to."""

    topic: ClassVar[str] = "probe.happened"
    source: ClassVar[str] = "probe"
    aggregate_field: ClassVar[str] = "thing_id"
    key_fields: ClassVar[tuple[str, ...]] = ("thing_id",)

    thing_id: UUID
    number: int


class Relayed(Happened):
    """A fact that nobody listens to."""

    topic: ClassVar[str] = "probe.relayed"


async def add_effect(session: AsyncSession, cause: str) -> None:
    await session.execute(sa.insert(Effect).values(cause=cause))


def subscribe(broker: KafkaBroker, settings: ServiceSettings) -> None:
    subscriber = kafka.facts(broker, settings, Happened)

    @subscriber(filter=kafka.is_a(Happened))
    async def note_when_happened(event: Happened) -> None:
        await add_effect(kafka.current_session(), f"event {event.number}")


async def perform(job: Job) -> Finish:
    async def finish(session: AsyncSession) -> None:
        await add_effect(session, f"job {job.job_key}")

    return finish


async def give_up(session: AsyncSession, job: Job, error: str) -> None:
    await add_effect(session, f"gave up {job.job_key}: {error}")


def build(settings: ServiceSettings, sessions: Sessions) -> worker.WorkerParts:
    return worker.WorkerParts(
        subscribe=lambda broker: subscribe(broker, settings),
        runners=[JobRunner(sessions, {"note": Work(perform, give_up)})],
    )


if __name__ == "__main__":
    worker.run(ProbeSettings(), build)
