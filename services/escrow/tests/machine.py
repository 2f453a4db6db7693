"""Plays everybody at once: both sides, staff, the bank, a Stripe that fails, and time itself.

Each step is a number that decides all that is left to chance in it, so that a run can be repeated,
and made smaller by leaving steps out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from services.escrow.tests.people import People, Played

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Trade

PLAYED: Mapping[str, Sequence[str]] = {
    "AWAIT_FUNDS": (
        *("pay", "pay", "pay", "pay", "pay", "pay_without_asking", "pay_declined"),
        *("pay_another_amount", "pay_in_euro", "lose_the_game", "cancel", "propose", "agree"),
    ),
    "FUNDS_HELD": (
        *("deliver", "deliver", "deliver", "deliver", "cancel", "dispute_by_buyer"),
        *("dispute_by_seller", "refund_by_seller", "refund_by_staff", "see_the_transfer"),
    ),
    "DELIVERED": (
        "confirm",
        "confirm",
        "confirm",
        "reject",
        "dispute_by_buyer",
        "see_the_transfer",
    ),
    "DISPUTED": (
        *("take", "take", "take", "award_seller", "award_buyer", "split", "split", "say"),
        *("withdraw_by_buyer", "withdraw_by_buyer", "withdraw_by_seller", "withdraw_by_seller"),
    ),
    "RELEASED": ("charge_back", "hear", "expire", "let_time_pass"),
    "REFUNDED": ("charge_back", "hear", "expire", "let_time_pass"),
    "CANCELLED": ("pay_after_the_end", "charge_back", "hear", "work_later"),
}
"""What people sensibly do next, by the state of their trade; twice what they do more often."""
ASIDE = (
    *("work", "work", "work", "work", "work_later", "work_later", "work_twice_at_once"),
    *("cut_the_power", "cut_the_power", "hear", "hear", "hear_the_last_backwards", "expire"),
    *("let_time_pass", "let_time_pass", "let_time_pass", "misbehave", "misbehave", "misbehave"),
    *("onboard", "onboard", "onboard", "close_the_account", "freeze", "thaw", "hold", "lift"),
    *("lift", "charge_back", "win", "lose"),
)
"""What happens besides."""
WORK = ("work", "work", "work", "work_later", "cut_the_power", "misbehave", "hear")
"""While money is on its way."""
HELD = ("hear", "work_later", "win", "lose", "lose", "lift", "hear_the_last_backwards", "misbehave")
"""When staff or the bank have stopped the trade."""
ANYTHING = tuple(sorted({name for names in PLAYED.values() for name in names}))

HOURLY_WORK = """
INSERT INTO jobs (id, job_key, kind, payload, headers, max_attempts)
SELECT gen_random_uuid(), kind || ':first', kind, '{}', '{}', 2147483647
FROM unnest(ARRAY['stripe.sweep', 'stripe.reconcile']) kind
"""
"""As a migration begins it."""
HURRY = sa.text("""
UPDATE jobs SET run_at = clock()
WHERE status = 'PENDING' AND kind NOT IN ('stripe.sweep', 'stripe.reconcile')
""")
PERIODS = (
    *(timedelta(seconds=20), timedelta(seconds=20), timedelta(hours=2), timedelta(hours=2)),
    timedelta(hours=25),
    timedelta(hours=72),
    timedelta(days=7),
    timedelta(days=14),
)
LATER = (timedelta(minutes=2), timedelta(days=1), timedelta(hours=1), timedelta(hours=1))
"""What passes in the end. After a day no call is repeated under its old key, but its object looked
for; each hour Stripe's events are swept and its books compared.
"""
SHORTLY, ROUNDS = timedelta(minutes=2), 20
FAULTS: Sequence[Mapping[str, Any]] = (
    {"action": "drop", "when": "before"},
    {"action": "drop", "when": "after"},
    {"action": "fail", "when": "before", "status": 500},
    {"action": "fail", "when": "after", "status": 500},
    {"action": "fail", "when": "before", "status": 409},
    {"action": "fail", "when": "before", "status": 429},
)
PLACES = ("/v1/payment_intents", "/v1/transfers", "/v1/refunds", "/v1/", "/v2/")
SITUATION = """
SELECT status, settling, ended_at, is_divided, EXISTS (
    SELECT FROM holds WHERE escrow_id = e.id
        AND (lifted_at IS NULL OR kind = 'CHARGEBACK')) AS is_held
FROM escrows e WHERE id = :escrow
"""
MILESTONES = """
SELECT id, position, amount, status, settling FROM milestone_escrows
WHERE escrow_id = :escrow ORDER BY position
"""


class Machine(People):
    """A few trades, and what happens to them step by step."""

    async def open(self, trades: Sequence["Trade"], number: int) -> None:
        """Open these trades; some of them are paid, or delivered, before anything goes wrong."""
        self.chance = Random(number)  # noqa: S311 - repeatable
        await self.desk.database.rows(HOURLY_WORK)
        for trade in trades:
            start = self.choose((self.hands.open, self.desk.funded, self.desk.delivered))
            self.told.append(f"{trade.game_id} begins: {start.__name__}")
            one = Played(trade, await start(trade), trade.amount)
            self.played.append(one)
            if self.choose((True, True, False)):
                await self.onboard(one)
            if start == self.hands.open and self.choose((True, True, False)):
                await self.propose(one)
                await self.agree(one)

    async def step(self, number: int) -> None:
        """Let one thing happen to one of the trades, and often the work that follows of it."""
        self.chance = Random(number)  # noqa: S311 - repeatable
        which = self.chance.randrange(len(self.played))
        [row] = await self._find(SITUATION, escrow=self.played[which].escrow_id)
        if row.ended_at is not None and self.choose((True, True, False)):
            which = (which + 1) % len(self.played)
            [row] = await self._find(SITUATION, escrow=self.played[which].escrow_id)
        one, part = self.played[which], row
        if row.is_divided and row.status == "FUNDS_HELD":
            part = self.choose(await self._find(MILESTONES, escrow=one.escrow_id))
            place = f"milestones/{part.position}/"
            one = replace(one, amount=part.amount, milestone_id=part.id, place=place)
        usual = PLAYED[part.status]
        sensible = WORK if part.settling else HELD if row.is_held else usual
        name = self.choose(self.choose((sensible, sensible, usual, ASIDE, ASIDE)))
        if self.choose(range(12)) == 0:
            name = self.choose(ANYTHING)
        self.told.append(f"{which} {one.place}{part.status} {part.settling or ''}: {name}")
        await getattr(self, name)(one)
        if self.choose((True, False)):
            self.told[-1] += ", work"
            await self.work_later(one)

    async def settle(self, work: Callable[[], Awaitable[None]]) -> None:
        """Stripe behaves again, and everything that can go on by itself does.

        `work` does all that is due. It rests when a short while changes nothing: each hour a trade
        on hold is looked at again.
        """
        self.told.append("all is well again:")
        await self.desk.provider.http.delete("/_sim/rules")
        await self.hear_the_rest()
        known: list[str] = []
        for period in (*LATER, *[SHORTLY] * ROUNDS):
            await self.advance(period)
            await self.hurry()
            await work()
            seen = [await self.rows(one.escrow_id) for one in self.played]
            if seen == known and period == SHORTLY:
                return
            known = seen
        raise AssertionError("it never comes to rest")

    # What the bank does

    async def charge_back(self, one: Played) -> None:
        """The bank wants the buyer's money back; Stripe has taken it already."""
        paid = {payment["id"] for payment in await self._payments(one)}
        for charge in await self.desk.provider.objects("charge"):
            if charge["payment_intent"] in paid and charge["amount"] > charge["amount_refunded"]:
                await self.desk.provider.http.post("/_sim/disputes", json={"charge": charge["id"]})
        if self.choose((True, False)):
            await self.hear_the_last_backwards(one)
            await self.work_later(one)

    async def win(self, one: Played) -> None:
        await self._close_chargeback(one, "win")

    async def lose(self, one: Played) -> None:
        await self._close_chargeback(one, "lose")

    async def _close_chargeback(self, one: Played, outcome: str) -> None:
        paid = {payment["id"] for payment in await self._payments(one)}
        for dispute in await self.desk.provider.objects("dispute"):
            if dispute["payment_intent"] in paid and dispute["status"] == "needs_response":
                await self.desk.provider.http.post(f"/_sim/disputes/{dispute['id']}/{outcome}")

    # What Stripe does

    async def misbehave(self, _one: Played) -> None:
        fault, place = self.choose(FAULTS), self.choose(PLACES)
        method, times = self.choose(("POST", "POST", "GET")), self.choose((1, 2))
        self.told[-1] += f" {times} x {method} {place} {fault}"
        await self.desk.provider.misbehave(place, method=method, times=times, **fault)

    async def hear(self, _one: Played) -> None:
        """One webhook, new or old, once or twice."""
        events = await self.desk.provider.objects("event")
        if events:
            event = events[self.choose(range(len(events)))]
            for _ in range(self.choose((1, 2))):
                await self._hear(event)

    async def hear_the_last_backwards(self, _one: Played) -> None:
        events = await self.desk.provider.objects("event")
        for event in reversed(events[-5:]):
            await self._hear(event)

    async def hear_the_rest(self) -> None:
        """Stripe repeats a webhook until it is taken; that of a chargeback at least was."""
        for event in await self.desk.provider.objects("event"):
            is_news = event["id"] not in self.heard
            if is_news and event["type"].startswith("charge.dispute."):
                await self._hear(event)

    async def _hear(self, event: dict[str, Any]) -> None:
        self.heard.add(event["id"])
        answer = await self.desk.webhook(event)
        assert answer.status_code == 200, answer.text

    # What the worker does, and time

    async def let_time_pass(self, _one: Played) -> None:
        await self.advance(self.choose(PERIODS))

    async def advance(self, by: timedelta) -> None:
        """For the service and for Stripe."""
        self.ahead += by
        self.told[-1] += f" {by}"
        await self.desk.database.clock.advance(self.ahead)
        await self.desk.provider.http.post("/_sim/clock", json={"seconds": by.total_seconds()})

    async def expire(self, _one: Played) -> None:
        await self.desk.ticker.tick()

    async def work(self, _one: Played) -> None:
        await self.hands.work()

    async def work_later(self, _one: Played) -> None:
        await self.hurry()
        await self.hands.work()

    async def work_twice_at_once(self, _one: Played) -> None:
        await self.hurry()
        await asyncio.gather(self.hands.work(), self.hands.work())

    async def hurry(self) -> None:
        """Let every job that waits be due; hourly work comes with the hours that pass."""
        async with self.desk.database.sessions.begin() as session:
            await session.execute(HURRY)

    async def cut_the_power(self, _one: Played) -> None:
        await self.hurry()
        await self.hands.cut_the_power(self.chance)
