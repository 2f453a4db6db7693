"""What Stripe told without reaching us is found within the hour, by one of the workers."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from escrow.rails import AskAgain
from escrow.rails.budget import Budget

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

FIRST = (
    "INSERT INTO jobs (id, job_key, kind, payload, headers, max_attempts)"
    " VALUES (gen_random_uuid(), 'stripe.sweep:first', 'stripe.sweep', '{}', '{}', 2147483647)"
)


async def _sweeps(desk: "Desk") -> list[tuple[str, bool]]:
    rows = await desk.database.rows(
        "SELECT status, run_at > clock() + interval '59 minutes' AS is_in_an_hour FROM jobs"
        " WHERE kind = 'stripe.sweep' ORDER BY created_at"
    )
    return [(row["status"], row["is_in_an_hour"]) for row in rows]


async def test_a_chargeback_whose_webhook_was_lost_is_found_by_the_sweep(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.funded(trade)
    [known] = await desk.provider.events("payment_intent.succeeded")
    await desk.webhook(known)
    charge = await desk.provider.only("charge")
    await desk.provider.http.post("/_sim/disputes", json={"charge": charge["id"]})
    await desk.database.rows(FIRST)

    async def work() -> None:
        runner = desk.runner_of_its_own()
        while await runner.run_one():
            pass

    await asyncio.gather(*(work() for _ in range(3)))
    await desk.work()
    [hold] = await desk.database.rows("SELECT escrow_id, kind FROM holds")
    assert (hold["escrow_id"], hold["kind"]) == (escrow_id, "CHARGEBACK")
    assert await _sweeps(desk) == [("COMPLETED", False), ("PENDING", True)]
    kept = await desk.database.rows("SELECT event_id FROM webhook_events")
    assert len(kept) == len({row["event_id"] for row in kept})
    assert await desk.database.rows(
        "SELECT 1 FROM webhook_events WHERE type = 'charge.dispute.created'"
    )
    looks = await desk.database.rows("SELECT job_key FROM jobs WHERE kind = 'stripe.look'")
    assert {row["job_key"] for row in looks} == {f"webhook:{row['event_id']}" for row in kept}

    # What comes late after all changes nothing, and the next sweep has nothing to find.
    [late] = await desk.provider.events("charge.dispute.created")
    await desk.webhook(late)
    await desk.database.clock.advance(timedelta(hours=1, seconds=1))
    await desk.work()
    assert await desk.database.rows("SELECT event_id FROM webhook_events") == kept
    assert await _sweeps(desk) == [("COMPLETED", False), ("COMPLETED", False), ("PENDING", True)]


async def test_a_sweep_that_finds_stripe_away_is_repeated(desk: "Desk") -> None:
    await desk.provider.misbehave("/v1/events", "fail", method="GET", status=500)
    await desk.database.rows(FIRST)
    assert await desk.runner.run_one()
    [row] = await desk.database.rows("SELECT status, attempts FROM jobs")
    assert (row["status"], row["attempts"]) == ("PENDING", 1)
    await desk.work_later()
    assert await _sweeps(desk) == [("COMPLETED", False), ("PENDING", True)]


async def test_all_processes_share_twenty_requests_a_second_and_endpoint(desk: "Desk") -> None:
    budgets = [Budget(desk.database.sessions) for _ in range(2)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(budgets[number % 2].take("one") for number in range(15)))
    took_seconds = loop.time() - began
    assert took_seconds >= 0.45  # 5 at once, 10 more at 50 ms each
    row = await desk.database.one("SELECT hits FROM rate_limits WHERE bucket = 'stripe:one'")
    assert row["hits"] == 15

    await desk.database.rows(
        "UPDATE rate_limits SET window_ends_at = clock() + interval '1 minute'"
    )
    with pytest.raises(AskAgain):
        await budgets[0].take("one")
    await budgets[0].take("another")
