"""Money that is held for long is brought to staff's attention, and may at last go back."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

if TYPE_CHECKING:
    import httpx
    from services.escrow.tests.conftest import Desk, Trade

PRICE = 450_000
STAFF: dict[str, Any] = {"roles": ["moderator"]}


async def _alarms(desk: "Desk") -> list[int]:
    rows = await desk.database.rows(
        "SELECT (details::jsonb->>'days')::int AS days FROM audit_logs"
        " WHERE action = 'escrow.held_long' ORDER BY id"
    )
    return [row["days"] for row in rows]


async def _later(desk: "Desk", **period: int) -> None:
    await desk.database.clock.advance(timedelta(**period))
    while await desk.ticker.tick():
        pass


async def _unpaid(desk: "Desk", trade: "Trade") -> UUID:
    """Confirmed, and the seller has no account."""
    escrow_id = await desk.delivered(trade)
    assert (await desk.confirm(trade, escrow_id)).status_code == 200
    return escrow_id


def _code(answer: "httpx.Response") -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_staff_are_told_after_60_and_80_days_and_then_may_refund(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await _unpaid(desk, trade)
    await _later(desk, days=59, hours=23)
    assert await _alarms(desk) == []
    await _later(desk, days=60, hours=1)
    assert await _alarms(desk) == [60]
    await _later(desk, days=79, hours=23)
    before = await desk.database.one("SELECT * FROM escrows")
    early = await desk.refund(uuid4(), escrow_id, **STAFF)
    assert _code(early) == (409, "seller-still-waited-for")
    assert early.json()["state"] == "DELIVERED"
    assert await desk.database.one("SELECT * FROM escrows") == before

    await _later(desk, days=80, hours=1)
    assert await _alarms(desk) == [60, 80]
    refused = await desk.refund(trade.seller_id, escrow_id)
    assert _code(refused) == (409, "illegal-move")
    assert (await desk.refund(uuid4(), escrow_id, **STAFF)).status_code == 200
    await desk.work_later()
    row = await desk.database.one("SELECT status, reason FROM escrows")
    assert tuple(row.values()) == ("REFUNDED", "SELLER_NOT_PAYABLE")
    assert (await desk.provider.only("refund"))["amount"] == PRICE
    assert await desk.provider.objects("transfer") == []
    await _later(desk, days=110)
    assert await _alarms(desk) == [60, 80]
    assert (await desk.topics(escrow_id))[-1] == "escrow.refunded"


async def test_a_seller_who_can_be_paid_is_not_refunded_over(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await desk.database.clock.advance(timedelta(days=81))
    assert _code(await desk.refund(uuid4(), escrow_id, **STAFF)) == (409, "seller-still-waited-for")
    assert await desk.status(escrow_id) == "DELIVERED"


async def test_what_a_moderator_decided_for_an_unpayable_seller_goes_back_too(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.funded(trade)
    words = {"title": "No", "description": "No."}
    opened = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes", words)
    place = f"/v1/escrows/{escrow_id}/disputes/{opened.json()['id']}"
    moderator = uuid4()
    await desk.post(moderator, f"{place}/take", **STAFF)
    decision = {"resolution": "RELEASE", "reason": "Delivered."}
    assert (await desk.post(moderator, f"{place}/resolve", decision, **STAFF)).status_code == 200
    assert _code(await desk.refund(moderator, escrow_id, **STAFF)) == (
        409,
        "seller-still-waited-for",
    )
    await _later(desk, days=80, hours=1)
    assert (await desk.refund(moderator, escrow_id, **STAFF)).status_code == 200
    await desk.work_later()
    assert await desk.status(escrow_id) == "REFUNDED"
    dispute = await desk.database.one("SELECT status, resolution FROM disputes")
    assert tuple(dispute.values()) == ("RESOLVED", "REFUND")


@pytest.mark.parametrize("fails", [True, False], ids=["it fails", "it is under way"])
async def test_a_payout_and_the_late_refund_never_both_happen(
    desk: "Desk", trade: "Trade", fails: bool
) -> None:
    escrow_id = await _unpaid(desk, trade)
    await _later(desk, days=80, hours=1)
    if fails:
        body = {"error": {"type": "invalid_request_error", "code": "no", "message": "no"}}
        await desk.provider.misbehave("/v1/refunds", "fail", status=400, body=body)
    assert (await desk.refund(uuid4(), escrow_id, **STAFF)).status_code == 200
    await desk.make_payable(trade.seller_id)
    await desk.work_later()
    await desk.work_later()
    assert await desk.status(escrow_id) == ("RELEASED" if fails else "REFUNDED")
    made = [len(await desk.provider.objects(kind)) for kind in ("transfer", "refund")]
    assert made == [fails, not fails]
