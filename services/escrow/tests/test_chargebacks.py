"""A chargeback that is lost moves the books once; while held, nothing is asked of Stripe."""

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

PRICE = 450_000
MISTAKE = "The buyer has told the bank of a mistake."


async def _open(desk: "Desk") -> str:
    charge = await desk.provider.only("charge")
    opened = await desk.provider.http.post("/_sim/disputes", json={"charge": charge["id"]})
    [event] = await desk.provider.events("charge.dispute.created")
    assert (await desk.webhook(event)).status_code == 200
    return str(opened.json()["id"])


async def _lose(desk: "Desk", dispute_id: str) -> None:
    """Lost, and told of three times."""
    (await desk.provider.http.post(f"/_sim/disputes/{dispute_id}/lose")).raise_for_status()
    [closed] = await desk.provider.events("charge.dispute.closed")
    for number in range(3):
        answer = await desk.webhook({**closed, "id": f"evt_{number}"})
        assert answer.status_code == 200
    await desk.work()


async def _traded(desk: "Desk", escrow_id: UUID) -> list[tuple[str, str, int, str]]:
    """Postings without what Stripe keeps for itself."""
    return [one for one in await desk.postings(escrow_id) if one[0] != "provider_fee"]


async def _hold(desk: "Desk") -> Any:
    return await desk.database.one("SELECT lifted_reason, kind FROM holds")


async def _lift(desk: "Desk", escrow_id: UUID) -> None:
    hold = await desk.database.one("SELECT id FROM holds")
    path = f"/v1/escrows/{escrow_id}/holds/{hold['id']}/lift"
    answer = await desk.post(uuid4(), path, {"reason": MISTAKE}, roles=["moderator"])
    assert answer.status_code == 200


async def _disputed(desk: "Desk", trade: "Trade") -> UUID:
    escrow_id = await desk.funded(trade)
    words = {"title": "No", "description": "No."}
    answer = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes", words)
    assert answer.status_code == 200
    return escrow_id


@pytest.mark.parametrize("state", ["FUNDS_HELD", "DELIVERED", "DISPUTED"])
async def test_lost_while_held_it_ends_the_trade_refunded(
    desk: "Desk", trade: "Trade", state: str
) -> None:
    made = {"FUNDS_HELD": desk.funded, "DELIVERED": desk.delivered}
    escrow_id = await (made[state](trade) if state in made else _disputed(desk, trade))
    before = await _traded(desk, escrow_id)
    dispute_id = await _open(desk)
    await desk.work()
    assert await desk.status(escrow_id) == state
    assert await _traded(desk, escrow_id) == before

    await _lose(desk, dispute_id)
    row = await desk.database.one("SELECT status, reason FROM escrows WHERE id = $1", escrow_id)
    assert tuple(row.values()) == ("REFUNDED", "CHARGEBACK")
    assert (await _traded(desk, escrow_id))[len(before) :] == [
        ("charged_back", "escrow:held", -PRICE, "USD"),
        ("charged_back", "stripe:balance", PRICE, "USD"),
    ]
    assert await desk.provider.posts("/v1/refunds") == []
    assert (await _hold(desk))["lifted_reason"] == "lost"
    fact = (await desk.told(escrow_id))[-1]
    told = {name: fact[name] for name in ("topic", "reason", "refunded_to_buyer", "references")}
    assert told == {
        "topic": "escrow.refunded",
        "reason": "CHARGEBACK",
        "refunded_to_buyer": PRICE,
        "references": [dispute_id],
    }
    disputes = await desk.database.rows("SELECT status, resolution FROM disputes")
    assert [tuple(one.values()) for one in disputes] == [("CLOSED", None)] * (state == "DISPUTED")


async def test_lost_after_the_payout_it_is_the_platforms_loss(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    assert (await desk.confirm(trade, escrow_id)).status_code == 200
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    before, told = await _traded(desk, escrow_id), await desk.topics(escrow_id)

    await _lose(desk, await _open(desk))
    assert await desk.status(escrow_id) == "RELEASED"
    assert (await _traded(desk, escrow_id))[len(before) :] == [
        ("chargeback_loss", "platform:chargeback_loss", -PRICE, "USD"),
        ("chargeback_loss", "stripe:balance", PRICE, "USD"),
    ]
    assert await desk.topics(escrow_id) == told


@pytest.mark.parametrize("is_paid_out", [False, True])
async def test_it_is_posted_too_when_staff_had_let_the_trade_go_on(
    desk: "Desk", trade: "Trade", is_paid_out: bool
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    dispute_id = await _open(desk)
    await desk.work_later()
    await _lift(desk, escrow_id)
    if is_paid_out:
        assert (await desk.confirm(trade, escrow_id)).status_code == 200
        await desk.work_later()
    before = await desk.postings(escrow_id)

    await _lose(desk, dispute_id)
    assert await desk.status(escrow_id) == ("RELEASED" if is_paid_out else "REFUNDED")
    cause, account = (
        ("chargeback_loss", "platform:chargeback_loss")
        if is_paid_out
        else ("charged_back", "escrow:held")
    )
    assert (await desk.postings(escrow_id))[len(before) :] == [
        (cause, account, -PRICE, "USD"),
        (cause, "stripe:balance", PRICE, "USD"),
    ]


@pytest.mark.parametrize("is_lifted", [False, True])
async def test_a_part_of_what_is_held_is_a_loss_and_the_trade_stays_for_staff(
    desk: "Desk", trade: "Trade", is_lifted: bool
) -> None:
    escrow_id = await desk.funded(trade)
    dispute_id = await _open(desk)
    await desk.work()
    if is_lifted:
        await _lift(desk, escrow_id)
    assert await desk.differences() == []
    before = await _traded(desk, escrow_id)
    await desk.provider.say("dispute", dispute_id, amount=PRICE - 1)
    for line in await desk.provider.objects("balance_transaction"):
        if line["source"] == dispute_id:
            await desk.provider.say("balance_transaction", line["id"], amount=-(PRICE - 1))
    await desk.database.rows("TRUNCATE balance_transactions")
    await _lose(desk, dispute_id)
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert (await _traded(desk, escrow_id))[len(before) :] == [
        ("chargeback_loss", "platform:chargeback_loss", -(PRICE - 1), "USD"),
        ("chargeback_loss", "stripe:balance", PRICE - 1, "USD"),
    ]
    hold = await _hold(desk)
    assert (hold["lifted_reason"], hold["kind"]) == (MISTAKE if is_lifted else None, "CHARGEBACK")
    assert await desk.differences() == []


async def test_it_waits_for_a_payout_that_is_under_way(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    assert (await desk.confirm(trade, escrow_id)).status_code == 200
    await _lose(desk, await _open(desk))
    await desk.work_later()
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    causes = [posting[0] for posting in await desk.postings(escrow_id)]
    assert causes.count("charged_back") == 0
    assert causes.count("chargeback_loss") == 2


async def test_what_stripe_keeps_for_a_chargeback_is_posted_once(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.funded(trade)
    dispute_id = await _open(desk)
    await desk.work()
    await _lose(desk, dispute_id)
    [charge] = [
        line["id"]
        for line in await desk.provider.objects("balance_transaction")
        if (line["source"], line["fee"]) == (dispute_id, 1500)
    ]
    rows = await desk.database.rows(
        "SELECT e.account, e.amount FROM ledger_entries e JOIN ledger_transactions t"
        " ON t.id = e.transaction_id WHERE t.reference = $1 ORDER BY e.id",
        charge,
    )
    assert [tuple(row.values()) for row in rows] == [
        ("platform:provider_fees", -1500),
        ("stripe:balance", 1500),
    ]
    assert await desk.status(escrow_id) == "REFUNDED"
