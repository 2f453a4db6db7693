"""One object at Stripe for each intent, whatever happens to the calls."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from escrow import repository
from escrow.lifecycle import IntentKind
from escrow.use_cases import intents

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

LOST_AFTER: dict[str, Any] = {"action": "timeout", "when": "after", "seconds": 1.5}
LOST_BEFORE: dict[str, Any] = {"action": "timeout", "when": "before", "seconds": 1.5}


FAULTS: dict[str, dict[str, Any]] = {
    "lost after": LOST_AFTER,
    "lost before": LOST_BEFORE,
    "500 after": {"action": "fail", "when": "after", "status": 500},
    "500 before": {"action": "fail", "when": "before", "status": 500},
    "409": {"action": "fail", "when": "before", "status": 409},
    "429": {"action": "fail", "when": "before", "status": 429},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_payment_is_asked_for_once(
    desk: "Desk", trade: "Trade", fault: dict[str, Any]
) -> None:
    await desk.provider.misbehave("/v1/payment_intents", **fault)
    await desk.open(trade)
    await desk.work_later()

    await desk.provider.only("payment_intent")
    keys = await desk.provider.posts("/v1/payment_intents")
    intent = await desk.database.one("SELECT id, state, idem_key FROM intents")
    # What was lost before it arrived was asked again; what had arrived was found.
    assert keys == [f"v1:test:fund:{intent['id']}"]
    assert (intent["state"], intent["idem_key"]) == ("ACCEPTED", keys[0])
    job = await desk.database.one("SELECT attempts, status FROM jobs WHERE kind = 'stripe.call'")
    assert (job["attempts"], job["status"]) == (2, "COMPLETED")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_refund_is_one_refund_whatever_happens_to_the_call(
    desk: "Desk", trade: "Trade", fault: dict[str, Any]
) -> None:
    escrow_id = await desk.funded(trade)
    await desk.provider.misbehave("/v1/refunds", **fault)
    assert (await desk.refund(trade.seller_id, escrow_id)).status_code == 200
    await desk.work_later()
    await desk.work_later()
    assert await desk.status(escrow_id) == "REFUNDED"
    assert (await desk.provider.only("refund"))["amount"] == 450_000
    assert len(set(await desk.provider.posts("/v1/refunds"))) == 1
    assert [p[0] for p in await desk.postings(escrow_id)].count("refunded") == 2


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_payout_is_one_transfer_whatever_happens_to_the_call(
    desk: "Desk", trade: "Trade", fault: dict[str, Any]
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.provider.misbehave("/v1/transfers", **fault)
    await desk.confirm(trade, escrow_id)
    await desk.work()
    if fault is LOST_BEFORE:  # else the provider's event may already have told the outcome
        assert await desk.status(escrow_id) == "DELIVERED"
    await desk.work_later()

    assert await desk.status(escrow_id) == "RELEASED"
    assert (await desk.provider.only("transfer"))["amount"] == 438_750
    assert len(set(await desk.provider.posts("/v1/transfers"))) == 1
    assert (await desk.topics(escrow_id))[-1] == "escrow.released"


async def test_two_workers_at_once_make_one_transfer(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.confirm(trade, escrow_id)

    async def work() -> None:
        runner = desk.runner_of_its_own()
        while await runner.run_one():
            pass

    await asyncio.gather(*(work() for _ in range(4)))
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    assert len(await desk.provider.posts("/v1/transfers")) == 1


async def test_a_job_whose_lease_ran_out_is_called_under_the_same_key(
    desk: "Desk", trade: "Trade"
) -> None:
    await desk.open(trade)
    await desk.database.rows("UPDATE intents SET state = 'CALLING', object_id = NULL")
    await desk.database.rows("TRUNCATE stripe_escrows")
    await desk.database.rows(
        "UPDATE jobs SET status = 'PROCESSING', lease_until = clock() - interval '1 s'"
        " WHERE kind = 'stripe.call'"
    )
    await desk.work()
    await desk.provider.only("payment_intent")
    assert len(set(await desk.provider.posts("/v1/payment_intents"))) == 1
    assert (await desk.database.one("SELECT state FROM intents"))["state"] == "ACCEPTED"


async def in_doubt_for_25_hours(desk: "Desk") -> None:
    await desk.database.clock.advance(timedelta(hours=25))
    await desk.provider.http.post("/_sim/clock", json={"seconds": 25 * 3600})
    await desk.work_later()


async def test_after_25_hours_what_was_made_is_found_and_never_made_again(
    desk: "Desk", trade: "Trade"
) -> None:
    await desk.provider.misbehave("/v1/payment_intents", **LOST_AFTER)
    await desk.open(trade)
    await in_doubt_for_25_hours(desk)
    made = await desk.provider.only("payment_intent")
    assert len(await desk.provider.posts("/v1/payment_intents")) == 1
    intent = await desk.database.one("SELECT state, object_id FROM intents")
    assert (intent["state"], intent["object_id"]) == ("ACCEPTED", made["id"])


async def test_after_25_hours_and_two_looks_a_payout_was_not_made(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.provider.misbehave("/v1/transfers", **LOST_BEFORE)
    await desk.confirm(trade, escrow_id)
    await desk.work()
    await in_doubt_for_25_hours(desk)
    assert (await release_states(desk)) == ["CALLING"]
    await desk.work_later()
    assert (await release_states(desk)) == ["NOT_EXECUTED"]
    assert await desk.provider.posts("/v1/transfers") == []

    assert (await desk.confirm(trade, escrow_id)).status_code == 200
    await desk.work()
    assert await desk.status(escrow_id) == "RELEASED"
    assert (await release_states(desk)) == ["NOT_EXECUTED", "SETTLED"]
    assert (await desk.provider.only("transfer"))["amount"] == 438_750


async def release_states(desk: "Desk") -> list[str]:
    rows = await desk.database.rows("SELECT state FROM intents WHERE kind = 'release' ORDER BY id")
    return [row["state"] for row in rows]


async def test_a_refusal_is_final_and_a_new_try_is_a_new_intent(
    desk: "Desk", trade: "Trade"
) -> None:
    body = {"error": {"type": "invalid_request_error", "code": "amount_too_large", "message": "no"}}
    await desk.provider.misbehave("/v1/payment_intents", "fail", status=400, body=body)
    escrow_id = await desk.open(trade)
    intent = await desk.database.one("SELECT state, last_error FROM intents")
    assert (intent["state"], intent["last_error"]) == ("FAILED", "amount_too_large")

    answer = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
    assert answer.status_code == 202
    await desk.work()
    answer = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
    assert answer.status_code == 200
    keys = await desk.database.rows("SELECT business_key FROM intents ORDER BY id")
    assert [row["business_key"] for row in keys] == [f"fund:{escrow_id}:1", f"fund:{escrow_id}:2"]


async def test_no_more_goes_out_than_came_in(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    assert (await desk.refund(trade.seller_id, escrow_id)).status_code == 200
    async with desk.database.sessions() as session:
        escrow = await repository.lock(session, escrow_id)
        with pytest.raises(AssertionError, match="more than was received"):
            await intents.release(session, escrow, "acct_1", 1)
        assert await repository.intents(session, IntentKind.RELEASE, escrow_id=escrow_id) == []


async def test_a_lost_webhook_does_not_matter(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    await desk.pay(trade, escrow_id)
    watching = await desk.database.one(
        "SELECT run_at - clock() AS wait FROM jobs WHERE kind = 'stripe.watch'"
    )
    assert timedelta(0) < watching["wait"] <= timedelta(seconds=15)
    await desk.work_later()
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert await desk.database.rows("SELECT FROM webhook_events") == []
