"""Whatever happens to a few trades, in whatever order: no money is lost, doubled or misplaced.

`make soak` plays the same with real workers that are really killed.
"""

import os
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from services.escrow.tests.books import what_is_wrong
from services.escrow.tests.conftest import Desk, Stripe, Trade, settings_for
from services.escrow.tests.machine import Machine
from sqlalchemy import event

from bloxtr8.verification import Invariant, invariants
from shared import crash
from shared.testing import Stack, connection

if TYPE_CHECKING:
    from shared.testing import Database

RUNS, SEED = int(os.environ.get("RUNS", "40")), int(os.environ.get("SEED", "1"))
ELSEWHERE = {"I14-outbox-drained", "I18-projection", "I26-external-recon"}
"""Need a relay and identity, which do not run here; `books` compares with Stripe at once."""
POINTS = (
    *("str.after_intent", "str.after_call_before_save", "sched.after_select"),
    "sched.after_commit",
)


class PowerCut(BaseException):
    """The process ends here, as far as its code can tell."""


class Hands:
    """A worker in this process, and the fuse of its crash points and commits."""

    is_alone = True

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.at: str | None = None
        self.commits_left: int | None = None
        event.listen(desk.database.engine.sync_engine, "commit", self._commit)

    def point(self, name: str) -> None:
        """In place of `crash.point`, which would end the tests too."""
        if name == self.at:
            raise PowerCut(name)

    def _commit(self, _connection: Any) -> None:
        if self.commits_left is not None:
            self.commits_left -= 1
            if self.commits_left < 0:
                raise PowerCut("commit")

    async def open(self, trade: Trade) -> UUID:
        return await self.desk.open(trade, work=False)

    async def work(self) -> None:
        runner = self.desk.runner_of_its_own()
        while await runner.run_one():
            pass

    async def cut_the_power(self, chance: Random) -> None:
        """Work until the power is cut at a crash point, or instead of one of the next commits."""
        place = chance.choice((*POINTS, 0, 1, 2, 3))
        if isinstance(place, int):
            self.commits_left = place
        else:
            self.at = place
        try:
            await self.desk.ticker.tick()
            await self.work()
        except PowerCut:
            """Its lease runs out in time."""
        finally:
            self.at = self.commits_left = None


@pytest.fixture(scope="session")
async def patient(postgres_server: Stack, server: "Database", world: Stripe) -> AsyncIterator[Desk]:
    """A service that waits for Stripe as long as a busy machine needs; lost answers are cut off."""
    waits = {"stripe_timeout_seconds": 20.0}
    known = settings_for(server, world, postgres_server.s3("escrow"))
    made = Desk(server, world, known.model_copy(update=waits))
    yield made
    await made.close()


@pytest.fixture(scope="session")
def hands(patient: Desk) -> Iterator[Hands]:
    made = Hands(patient)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash, "point", made.point)
        yield made


@pytest.fixture(scope="session")
async def auditor(server: "Database", postgres_server: Stack) -> AsyncIterator[asyncpg.Connection]:
    """Who checks the invariants; they speak of the other services' schemas too."""
    name = server.owner_dsn.rpartition("/")[2]
    postgres_server.command("migrate", "--database", name)
    async with connection(postgres_server.auditor_dsn(name)) as opened:
        yield opened


def audited() -> list[Invariant]:
    return [one for one in invariants() if one.name not in ELSEWHERE]


@pytest.mark.timeout(1200)  # only when it fails: then a smaller run that fails is looked for
@seed(SEED)
@settings(
    max_examples=RUNS,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(noise=st.binary(min_size=18, max_size=30))
async def test_money_is_where_it_belongs_whatever_happens(
    noise: bytes,
    patient: Desk,
    world: Stripe,
    hands: Hands,
    auditor: asyncpg.Connection,
) -> None:
    await patient.database.truncate()
    await world.reset()
    machine = Machine(patient, hands)

    async def expire_and_work() -> None:
        await patient.ticker.tick()
        await hands.work()

    # One value, of which hypothesis makes no near copies as it does of lists.
    start, *steps = (int.from_bytes(pair) for pair in zip(noise[::2], noise[1::2], strict=False))
    try:
        await machine.open([Trade(game_id=str(9001 + n)) for n in range(1 + start % 2)], start)
        for step in steps:
            await machine.step(step)
        await machine.settle(expire_and_work)
        wrong = await what_is_wrong(patient)
        for invariant in audited():
            finding = await invariant.check(auditor)
            wrong += [f"{finding.name}: {row}" for row in finding.broken_by]
        assert wrong == []
    except BaseException as error:
        error.add_note("\n".join(machine.told))
        raise
    finally:
        await patient.database.clock.restore()
