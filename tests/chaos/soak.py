"""Plays trades like escrow's test_machine does, with real workers that are really killed.

PostgreSQL, Kafka and the simulated Stripe are those of the local stack. Escrow's facts come through
Kafka, its jobs, deadlines and outbox are worked off by two worker processes, which are killed at
crash points and at any moment and started again. After each run all is left to come to rest; then
every invariant must hold, and our books must be Stripe's.

Run n is made of the first seed + n. The moments of kills are chosen by it too, but what is hit by
them is not.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import structlog
import typer
from services.escrow.tests.books import what_is_wrong
from services.escrow.tests.conftest import SECRET, Desk, Stripe, Trade
from services.escrow.tests.machine import Machine
from tests.chaos.workers import Workers

from bloxtr8.verification import invariants
from escrow.settings import Settings
from shared.events import Event
from shared.testing import Database, Stack, connection, eventually, headers_of
from shared.testing.tokens import ISSUER

KILLS_PER_STEP = 0.15
ELSEWHERE = {"I18-projection"}
"""Needs identity, which does not run here."""
POINTS = (
    *("str.after_intent", "str.after_call_before_save"),
    *("sched.after_select", "sched.after_commit", "cons.after_commit_before_offset"),
    *("relay.before_send", "relay.after_send_before_ack", "relay.after_ack_before_mark"),
)
QUIET_WITHIN_SECONDS = 90
BUSY = """
SELECT 'job' AS what, kind AS which FROM jobs
WHERE status = 'PROCESSING' OR status = 'PENDING' AND run_at <= clock()
UNION ALL SELECT 'deadline', kind FROM deadlines WHERE done_at IS NULL AND due_at <= clock()
UNION ALL SELECT 'event', topic FROM outbox WHERE published_at IS NULL
"""


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a program that prints


class LiveDesk(Desk):
    """Escrow whose work is done by processes of its own."""

    def __init__(
        self,
        stack: Stack,
        database: Database,
        workers: Workers,
        provider: Stripe,
        settings: Settings,
    ) -> None:
        super().__init__(database, provider, settings)
        self._stack = stack
        self.workers = workers

    async def work(self) -> None:
        """Wait until nothing is due any more."""

        async def nothing_is_due() -> None:
            self.workers.tend()
            busy = await self.database.rows(BUSY)
            assert busy == [], busy

        await eventually(nothing_is_due, within_seconds=QUIET_WITHIN_SECONDS)

    async def announced(self, topics: Sequence[str]) -> list[tuple[str, str]]:
        """As Kafka has it, copies left out: the outbox forgets in time."""
        messages = [one for topic in topics for one in await self._stack.read(topic)]
        events = {dict(one.headers)["ce_id"]: one for one in messages}
        return [(dict(one.headers)["ce_subject"].decode(), one.topic) for one in events.values()]

    async def open(self, trade: Trade, **_: Any) -> UUID:
        """The escrow of a trade that other services speak of."""
        await self._publish("contracts", trade.executed())
        rows: list[dict[str, Any]] = []

        async def is_open() -> None:
            self.workers.tend()
            rows[:] = await self.database.rows(
                "SELECT id, created_at FROM escrows WHERE contract_id = $1", trade.contract_id
            )
            assert rows != []

        await eventually(is_open, within_seconds=QUIET_WITHIN_SECONDS)
        escrow_id: UUID = rows[0]["id"]
        checked_at = rows[0]["created_at"] + timedelta(milliseconds=1)
        await self._publish("identity", trade.verified(checked_at))

        async def is_confirmed() -> None:
            self.workers.tend()
            assert await self.database.rows(
                "SELECT FROM asset_verifications WHERE user_id = $1", trade.seller_id
            )

        await eventually(is_confirmed, within_seconds=QUIET_WITHIN_SECONDS)
        await self.work()
        return escrow_id

    async def _publish(self, service: str, event: Event) -> None:
        value = event.model_dump_json().encode()
        message = (event.key, value, headers_of(event), 0)
        await self._stack.produce(service, event.topic, [message, message])


class Hands:
    """Workers that go on by themselves, and are killed."""

    is_alone = False

    def __init__(self, desk: LiveDesk) -> None:
        self._desk = desk
        self.open = desk.open

    async def work(self) -> None:
        """Leave them some time; what is not done then goes on later."""
        self._desk.workers.tend()
        deadline = time.monotonic() + 1
        while await self._desk.database.rows(BUSY) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    async def cut_the_power(self, chance: Random) -> None:
        self._desk.workers.tend()
        match chance.choice(("now", "soon", "at a point", "at a point")):
            case "at a point":
                self._desk.workers.arm(chance.choice(POINTS))
            case "soon":
                await asyncio.sleep(chance.uniform(0, 0.3))
                self._desk.workers.kill(chance)
            case _:
                self._desk.workers.kill(chance)


async def run(desk: LiveDesk, auditor: asyncpg.Connection, seed: int) -> list[str]:
    """One run from an empty database; returns what is wrong after it, with what had happened."""
    await desk.work()
    await desk.database.clock.restore()
    await desk.database.truncate()
    await desk.provider.reset()
    chance = Random(seed)  # noqa: S311 - repeatable
    machine = Machine(desk, Hands(desk))
    trades = [Trade(game_id=str(9001 + number)) for number in range(chance.randint(1, 3))]
    try:
        await machine.open(trades, chance.getrandbits(16))
        for _ in range(chance.randint(15, 30)):
            await machine.step(chance.getrandbits(16))
            if chance.random() < KILLS_PER_STEP:
                await machine.hands.cut_the_power(chance)
        await machine.settle(desk.work)
        wrong = await what_is_wrong(desk)
        for invariant in invariants():
            if invariant.name not in ELSEWHERE:
                finding = await invariant.check(auditor)
                wrong += [f"{finding.name}: {row}" for row in finding.broken_by]
    except (AssertionError, asyncpg.PostgresError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    return [*machine.told, "", *wrong] if wrong else []


@asynccontextmanager
async def live_desk(stack: Stack) -> AsyncIterator[LiveDesk]:
    provider = Stripe(f"{stack.simulators_url}/stripe")
    named = {
        name.removeprefix("ESCROW_").lower(): value
        for name, value in stack.env("escrow.api").items()
        if name.startswith("ESCROW_")
    }
    ours = {"public_url": ISSUER, "jwt_issuer": ISSUER, "stripe_webhook_secrets": SECRET}
    workers = Workers(stack)
    settings = Settings.model_validate(named | ours)
    async with Database.opened("escrow", stack, "bloxtr8") as database:
        desk = LiveDesk(stack, database, workers, provider, settings)
        try:
            yield desk
        finally:
            workers.end()
            await desk.close()
            await provider.close()


async def soak(stack: Stack, runs: int, first_seed: int) -> bool:
    """Whether every run ended well; the first that does not is the last."""
    async with live_desk(stack) as desk, connection(stack.auditor_dsn()) as auditor:
        for number, seed in enumerate(range(first_seed, first_seed + runs), start=1):
            began, deaths = time.monotonic(), desk.workers.deaths
            wrong = await run(desk, auditor, seed)
            took, died = time.monotonic() - began, desk.workers.deaths - deaths
            verdict = "broken" if wrong else "all holds"
            say(f"run {number}/{runs} seed {seed}: {verdict}, {died} kills, {took:.1f} s")
            if wrong:
                say("\n".join(wrong))
                say(f"\nOnce more: make soak SEED={seed} RUNS=1")
                return False
    return True


def main(
    *,
    runs: Annotated[int, typer.Option(min=1, envvar="RUNS", help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, envvar="SEED", help="That of the first run.")] = 1,
) -> None:
    """Play trades at random with workers that are killed; exit 1 when an invariant is broken."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with Stack.started() as stack:
        say(f"{runs} runs from seed {seed}; starting the stack …")
        stack.start("infrastructure")
        all_holds = asyncio.run(soak(stack, runs, seed))
    raise typer.Exit(0 if all_holds else 1)


if __name__ == "__main__":
    typer.run(main)
