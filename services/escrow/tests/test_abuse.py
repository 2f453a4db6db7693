"""Nobody moves money that is not theirs to move, however often or in whatever order they ask."""

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

WORDS = {"title": "No", "description": "No."}
REASON = {"reason": "Mine."}
STAFF: dict[str, Any] = {"roles": ["moderator"]}
TABLES = ("escrows", "intents", "disputes", "deliveries", "holds", "ledger_entries", "audit_logs")


async def _everything(desk: "Desk") -> list[Any]:
    return [
        sorted(map(str, await desk.database.rows(f"SELECT * FROM {table}"))) for table in TABLES
    ]


async def _refused(
    desk: "Desk", escrow_id: UUID, tries: list[tuple[UUID, str, Any, int, str]], **claims: Any
) -> None:
    before = await _everything(desk)
    for user_id, command, body, status, code in tries:
        answer = await desk.post(user_id, f"/v1/escrows/{escrow_id}/{command}", body, **claims)
        said = (answer.status_code, answer.json()["type"].rpartition("/")[2])
        assert said == (status, code), command
    assert await _everything(desk) == before


async def test_each_side_may_not_do_what_is_the_others(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    buyer, seller, stranger = trade.buyer_id, trade.seller_id, uuid4()
    await _refused(
        desk,
        escrow_id,
        [
            (seller, "confirm", None, 403, "not-your-move"),
            (seller, "reject", WORDS, 403, "not-your-move"),
            (seller, "payment", None, 403, "not-your-move"),
            (seller, "cancel", None, 403, "not-your-move"),
            (buyer, "deliver", WORDS, 403, "not-your-move"),
            (buyer, "refund", REASON, 403, "not-your-move"),
            (buyer, "holds", {"kind": "STAFF", **REASON}, 403, "not-your-move"),
            (buyer, "payment", None, 409, "illegal-move"),
            (seller, "refund", REASON, 409, "illegal-move"),
            (seller, "refund", {**REASON, "amount": 900_000}, 422, "invalid-request"),
            *((stranger, one, None, 404, "escrow-not-found") for one in ("confirm", "cancel")),
        ],
    )


async def test_a_party_with_staffs_role_is_still_a_party(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await _refused(
        desk,
        escrow_id,
        [
            (trade.seller_id, "confirm", None, 403, "not-your-move"),
            (trade.buyer_id, "refund", REASON, 403, "not-your-move"),
            (trade.buyer_id, "holds", {"kind": "STAFF", **REASON}, 403, "not-your-move"),
        ],
        **STAFF,
    )


async def test_what_is_disputed_is_not_disputed_again(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    opened = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes", WORDS)
    assert opened.status_code == 200
    of_the_dispute = f"disputes/{opened.json()['id']}"
    decision = {"resolution": "RELEASE", **REASON}
    await _refused(
        desk,
        escrow_id,
        [
            (trade.buyer_id, "disputes", WORDS, 409, "illegal-move"),
            (trade.seller_id, "disputes", WORDS, 409, "illegal-move"),
            (trade.buyer_id, "reject", WORDS, 409, "illegal-move"),
            (trade.buyer_id, "confirm", None, 409, "illegal-move"),
            (trade.seller_id, f"{of_the_dispute}/resolve", decision, 403, "not-your-move"),
            (trade.seller_id, f"{of_the_dispute}/take", None, 403, "not-your-move"),
        ],
    )


@pytest.mark.parametrize("end", ["REFUNDED", "RELEASED"])
async def test_what_has_ended_stays_ended(desk: "Desk", trade: "Trade", end: str) -> None:
    if end == "REFUNDED":
        escrow_id = await desk.funded(trade)
        await desk.refund(trade.seller_id, escrow_id)
    else:
        escrow_id = await desk.delivered(trade)
        await desk.make_payable(trade.seller_id)
        await desk.confirm(trade, escrow_id)
    await desk.work_later()
    assert await desk.status(escrow_id) == end
    await _refused(
        desk,
        escrow_id,
        [
            (trade.buyer_id, "confirm", None, 409, "illegal-move"),
            (trade.seller_id, "refund", REASON, 409, "illegal-move"),
            (trade.seller_id, "deliver", WORDS, 409, "illegal-move"),
            (trade.buyer_id, "disputes", WORDS, 409, "illegal-move"),
            (trade.buyer_id, "cancel", None, 409, "illegal-move"),
            (trade.buyer_id, "payment", None, 409, "illegal-move"),
        ],
    )
    await _refused(desk, escrow_id, [(uuid4(), "refund", REASON, 409, "illegal-move")], **STAFF)


@pytest.mark.parametrize(
    "lie",
    [
        {"amount_received": "450000"},
        {"amount_received": 450_000.5},
        {"amount": None},
        {"currency": None},
        {"metadata": {"intent_id": str(uuid4())}},
        {"status": "paid"},
    ],
    ids=["text", "fraction", "no amount", "no currency", "intent", "status"],
)
async def test_a_payment_that_stripe_shows_otherwise_holds_nothing(
    desk: "Desk", trade: "Trade", lie: dict[str, Any]
) -> None:
    escrow_id = await desk.open(trade)
    await desk.pay(trade, escrow_id)
    paid = await desk.provider.only("payment_intent")
    await desk.provider.say("payment_intent", paid["id"], **lie)
    await desk.database.rows("UPDATE jobs SET run_at = clock() WHERE status = 'PENDING'")
    await desk.runner.run_one()
    assert await desk.status(escrow_id) == "AWAIT_FUNDS"
    assert await desk.postings(escrow_id) == []
    assert await desk.topics(escrow_id) == ["escrow.created"]
