"""A chargeback lost after the payout is asked back from the seller, once; refused, it is a loss."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

PRICE, PAYOUT = 450_000, 438_750
LOST_AFTER: dict[str, Any] = {"action": "timeout", "when": "after", "seconds": 1.5}
LOST_BEFORE: dict[str, Any] = {"action": "timeout", "when": "before", "seconds": 1.5}
LOSS = [
    ("chargeback_loss", "platform:chargeback_loss", -PRICE, "USD"),
    ("chargeback_loss", "stripe:balance", PRICE, "USD"),
]
REVERSED = [
    ("reversed", "stripe:balance", -PAYOUT, "USD"),
    ("reversed", "platform:chargeback_loss", PAYOUT, "USD"),
]


async def _released(desk: "Desk", trade: "Trade", *, available: int) -> UUID:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    assert (await desk.confirm(trade, escrow_id)).status_code == 200
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    account = await desk.provider.only("account")
    has = {"account": account["id"], "available": available}
    (await desk.provider.http.put("/_sim/balance", json=has)).raise_for_status()
    return escrow_id


async def _charge_back(desk: "Desk") -> None:
    await desk.provider.charge_back()
    for kind in ("created", "closed"):
        [event] = await desk.provider.events(f"charge.dispute.{kind}")
        for number in range(2):
            answer = await desk.webhook({**event, "id": f"{event['id']}_{number}"})
            assert answer.status_code == 200
    await desk.work()


async def _moved(desk: "Desk", escrow_id: UUID) -> list[tuple[str, str, int, str]]:
    wanted = {"chargeback_loss", "reversed"}
    return [posting for posting in await desk.postings(escrow_id) if posting[0] in wanted]


async def _reversal(desk: "Desk") -> Any:
    return await desk.database.one("SELECT * FROM intents WHERE kind = 'reverse'")


@pytest.mark.parametrize(
    "fault",
    [
        None,
        LOST_AFTER,
        LOST_BEFORE,
        {"action": "fail", "when": "after", "status": 500},
        {"action": "fail", "when": "before", "status": 429},
    ],
    ids=["fine", "lost after", "lost before", "500 after", "429"],
)
async def test_a_payout_comes_back_once_and_lessens_the_loss(
    desk: "Desk", trade: "Trade", fault: dict[str, Any] | None
) -> None:
    escrow_id = await _released(desk, trade, available=PAYOUT)
    transfer = await desk.provider.only("transfer")
    path = f"/v1/transfers/{transfer['id']}/reversals"
    if fault is not None:
        await desk.provider.misbehave(path, **fault)
    await _charge_back(desk)
    await desk.work_later()
    await desk.work_later()

    reversal = await desk.provider.only("transfer_reversal")
    intent = await _reversal(desk)
    assert (reversal["amount"], reversal["transfer"]) == (PAYOUT, transfer["id"])
    assert (intent["state"], intent["object_id"], intent["amount"]) == (
        "SETTLED",
        reversal["id"],
        PAYOUT,
    )
    assert set(await desk.provider.posts(path)) == {f"v1:test:reverse:{intent['id']}"}
    assert await _moved(desk, escrow_id) == LOSS + REVERSED
    assert await desk.status(escrow_id) == "RELEASED"
    assert (await desk.topics(escrow_id)).count("escrow.released") == 1


async def test_what_the_seller_no_longer_has_stays_the_loss(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await _released(desk, trade, available=PAYOUT - 1)
    await _charge_back(desk)
    await desk.work_later()

    intent = await _reversal(desk)
    assert (intent["state"], intent["last_error"]) == ("FAILED", "balance_insufficient")
    assert await desk.provider.objects("transfer_reversal") == []
    assert await _moved(desk, escrow_id) == LOSS
    [note] = await desk.database.rows(
        "SELECT details FROM audit_logs WHERE action = 'escrow.reverse_failed'"
    )
    assert '"balance_insufficient"' in note["details"]


async def test_a_reversal_that_is_not_as_asked_is_not_posted(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await _released(desk, trade, available=PAYOUT)
    await _charge_back(desk)
    await desk.database.rows("UPDATE intents SET state = 'ACCEPTED' WHERE kind = 'reverse'")
    moved = await _moved(desk, escrow_id)
    reversal = await desk.provider.only("transfer_reversal")
    await desk.provider.say("transfer_reversal", reversal["id"], amount=PAYOUT - 1)
    await desk.database.rows(
        "UPDATE jobs SET status = 'PENDING', run_at = clock(), attempts = 0"
        " WHERE payload->>'object_id' = $1 AND kind = 'stripe.watch'",
        reversal["id"],
    )
    assert await desk.runner.run_one()
    assert await _moved(desk, escrow_id) == moved
    error = await desk.database.one(
        "SELECT last_error FROM jobs WHERE payload->>'object_id' = $1 AND kind = 'stripe.watch'",
        reversal["id"],
    )
    assert error["last_error"].startswith("ProviderDisagrees")
