"""A held trade stands still for everyone but staff, and goes on when the hold is lifted."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

if TYPE_CHECKING:
    import httpx
    from services.escrow.tests.conftest import Desk, Trade

    from shared.testing import Clock

STAFF: dict[str, Any] = {"roles": ["moderator"]}


async def _hold(desk: "Desk", escrow_id: UUID) -> str:
    answer = await desk.post(
        uuid4(), f"/v1/escrows/{escrow_id}/holds", {"kind": "STAFF", "reason": "Odd."}, **STAFF
    )
    assert (answer.status_code, answer.json()["lifted_at"]) == (200, None)
    return str(answer.json()["id"])


async def _lift(desk: "Desk", escrow_id: UUID, hold_id: str) -> "httpx.Response":
    place = f"/v1/escrows/{escrow_id}/holds/{hold_id}/lift"
    return await desk.post(uuid4(), place, {"reason": "Explained."}, **STAFF)


async def _row(desk: "Desk", escrow_id: UUID) -> Any:
    return await desk.database.one("SELECT * FROM escrows WHERE id = $1", escrow_id)


async def test_nobody_but_staff_moves_a_held_trade(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    hold_id = await _hold(desk, escrow_id)
    before = dict(await _row(desk, escrow_id))
    words = {"title": "No", "description": "No."}
    refused = [
        await desk.confirm(trade, escrow_id),
        await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/reject", words),
        await desk.post(trade.seller_id, f"/v1/escrows/{escrow_id}/disputes", words),
    ]
    assert [(one.status_code, one.json()["type"].split("/")[-1]) for one in refused] == [
        (409, "on-hold")
    ] * 3
    await clock.advance(timedelta(days=7, seconds=1))
    assert await desk.ticker.tick() == 1
    assert dict(await _row(desk, escrow_id)) == before

    assert (await _lift(desk, escrow_id, hold_id)).status_code == 200
    again = await _lift(desk, escrow_id, hold_id)
    assert (again.status_code, again.json()["type"].split("/")[-1]) == (409, "hold-lifted")
    await clock.advance(timedelta(days=7, hours=2))
    assert await desk.ticker.tick() == 1
    assert await desk.status(escrow_id) == "DISPUTED"


async def test_a_payout_that_waits_does_not_begin_while_held(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    assert (await desk.confirm(trade, escrow_id)).status_code == 200
    hold_id = await _hold(desk, escrow_id)
    await desk.make_payable(trade.seller_id)
    await desk.work_later()
    assert await desk.provider.objects("transfer") == []
    assert (await _row(desk, escrow_id))["settling"] is None

    await _lift(desk, escrow_id, hold_id)
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    assert len(await desk.provider.objects("transfer")) == 1


async def test_staff_may_refund_a_held_trade(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    await _hold(desk, escrow_id)
    assert (await desk.refund(trade.seller_id, escrow_id)).status_code == 409
    assert (await desk.refund(uuid4(), escrow_id, **STAFF)).status_code == 200
    await desk.work_later()
    assert await desk.status(escrow_id) == "REFUNDED"
    late = await desk.post(
        uuid4(), f"/v1/escrows/{escrow_id}/holds", {"kind": "STAFF", "reason": "Late."}, **STAFF
    )
    assert (late.status_code, late.json()["state"]) == (409, "REFUNDED")


@pytest.mark.parametrize(
    ("is_party", "roles", "status"), [(True, ["moderator"], 403), (False, [], 404)]
)
async def test_only_staff_who_are_no_side_may_hold(
    desk: "Desk", trade: "Trade", is_party: bool, roles: list[str], status: int
) -> None:
    escrow_id = await desk.funded(trade)
    caller = trade.buyer_id if is_party else uuid4()
    answer = await desk.post(
        caller, f"/v1/escrows/{escrow_id}/holds", {"kind": "STAFF", "reason": "Mine."}, roles=roles
    )
    assert answer.status_code == status
    assert await desk.database.rows("SELECT 1 FROM holds") == []


async def test_a_chargeback_freezes_a_trade_until_it_is_won(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    charge = await desk.provider.only("charge")
    opened = await desk.provider.http.post("/_sim/disputes", json={"charge": charge["id"]})
    dispute_id = opened.json()["id"]
    [event] = await desk.provider.events("charge.dispute.created")
    for _ in range(2):
        assert (await desk.webhook(event)).status_code == 200
    await desk.work()
    [hold] = await desk.database.rows("SELECT kind, reason, lifted_at FROM holds")
    assert tuple(hold.values()) == ("CHARGEBACK", f"Chargeback {dispute_id}", None)
    refused = await desk.confirm(trade, escrow_id)
    assert (refused.status_code, refused.json()["type"].split("/")[-1]) == (409, "on-hold")

    await desk.provider.http.post(f"/_sim/disputes/{dispute_id}/win")
    [closed] = await desk.provider.events("charge.dispute.closed")
    assert (await desk.webhook(closed)).status_code == 200
    assert (await desk.webhook({**event, "id": "evt_late"})).status_code == 200
    await desk.work()
    [hold] = await desk.database.rows("SELECT lifted_reason FROM holds")
    assert hold["lifted_reason"] == "won"
    assert (await desk.confirm(trade, escrow_id)).status_code == 200
