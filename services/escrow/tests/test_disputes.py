"""Silence, disputes and what moderators decide: the money goes where it should, once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from escrow.use_cases import silence
from shared.events.identity import AssetTransferObserved

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

    from shared.testing import Clock

WORDS = {"title": "Not what was sold", "description": "The map is missing."}
HELD = [("funded", "stripe:balance", -450_000), ("funded", "escrow:held", 450_000)]


async def _observe(desk: "Desk", trade: "Trade", escrow_id: UUID) -> None:
    seen = AssetTransferObserved(
        version=1,
        escrow_id=escrow_id,
        root_offer_id=trade.offer_id,
        game_id=trade.game_id,
        buyer_id=trade.buyer_id,
        creator_id="2002",
        creator_type="User",
        observed_at=datetime(2026, 11, 2, tzinfo=UTC),
    )
    async with desk.database.sessions.begin() as session:
        await silence.note_transfer(session, seen)


async def _dispute(desk: "Desk", user_id: UUID, escrow_id: UUID) -> str:
    answer = await desk.post(user_id, f"/v1/escrows/{escrow_id}/disputes", WORDS)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "OPEN"
    return str(answer.json()["id"])


async def _staff(desk: "Desk", escrow_id: UUID, dispute_id: str, **body: Any) -> Any:
    """Take and decide."""
    moderator, place = uuid4(), f"/v1/escrows/{escrow_id}/disputes/{dispute_id}"
    taken = await desk.post(moderator, f"{place}/take", roles=["moderator"])
    assert (taken.status_code, taken.json()["status"]) == (200, "IN_REVIEW")
    return await desk.post(
        moderator, f"{place}/resolve", {"reason": "As agreed.", **body}, roles=["moderator"]
    )


async def _state(desk: "Desk", escrow_id: UUID) -> tuple[Any, ...]:
    row = await desk.database.one(
        "SELECT status, settling, version FROM escrows WHERE id = $1", escrow_id
    )
    return row["status"], row["settling"], row["version"]


async def _moved(desk: "Desk", escrow_id: UUID) -> list[tuple[str, str, int]]:
    rows = await desk.postings(escrow_id)
    return [row[:3] for row in rows if row[0] != "provider_fee"]


async def test_silence_pays_when_the_game_was_seen_with_the_buyer(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await _observe(desk, trade, escrow_id)
    await _observe(desk, trade, escrow_id)
    shown = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}")).json()
    assert shown["deliveries"][0]["observed_transfer"] == {
        "creator_id": "2002",
        "creator_type": "User",
        "observed_at": "2026-11-02T00:00:00+00:00",
    }
    due = datetime.fromisoformat(shown["release_by"])
    assert due - datetime.fromisoformat(shown["delivered_at"]) == pytest.approx(
        timedelta(days=7), abs=timedelta(seconds=5)
    )
    assert await desk.ticker.tick() == 0

    await clock.advance(timedelta(days=7, seconds=1))
    assert await desk.ticker.tick() == 1
    await desk.work_later()

    assert await desk.status(escrow_id) == "RELEASED"
    [transfer] = await desk.provider.objects("transfer")
    assert transfer["amount"] == 438_750
    assert await _moved(desk, escrow_id) == [
        *HELD,
        ("released", "escrow:held", -450_000),
        ("released", "stripe:balance", 438_750),
        ("released", "platform:fees", 11_250),
    ]


async def test_silence_without_a_seen_transfer_opens_a_dispute(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await desk.delivered(trade)
    await clock.advance(timedelta(days=7, seconds=1))
    assert await desk.ticker.tick() == 1
    [dispute] = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes")).json()
    assert (dispute["opened_by"], dispute["opened_from"]) == (None, "DELIVERED")
    assert (await _state(desk, escrow_id))[:2] == ("DISPUTED", None)
    assert (await desk.topics(escrow_id))[-1] == "escrow.disputed"
    assert await _moved(desk, escrow_id) == HELD

    await clock.advance(timedelta(days=37, minutes=1))
    assert await desk.ticker.tick() == 1
    [dispute] = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes")).json()
    assert dispute["alerted_at"] is not None
    assert dispute["status"] == "OPEN"


async def test_the_buyer_takes_back_what_was_not_delivered_in_time(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await desk.funded(trade)
    before = await _state(desk, escrow_id)
    early = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/cancel")
    assert (early.status_code, early.json()["type"].split("/")[-1]) == (409, "reclaim-not-open")
    await clock.advance(timedelta(days=14, seconds=1))
    seller = await desk.post(trade.seller_id, f"/v1/escrows/{escrow_id}/cancel")
    assert seller.status_code == 403
    assert await _state(desk, escrow_id) == before

    left = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/cancel")
    assert (left.status_code, left.json()["settling"]) == (200, "REFUND")
    await desk.work_later()
    assert await desk.status(escrow_id) == "REFUNDED"
    assert (await desk.told(escrow_id))[-1]["reason"] == "NOT_DELIVERED"
    assert (await desk.provider.only("refund"))["amount"] == 450_000


async def test_a_period_is_the_one_stamped_at_acceptance(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await desk.open(trade, deliver_within_seconds=60, auto_release_seconds=90)
    await desk.pay(trade, escrow_id)
    await desk.work_later()
    await clock.advance(timedelta(seconds=120))
    left = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/cancel")
    assert left.status_code == 200


@pytest.mark.parametrize(
    ("resolution", "status", "postings"),
    [
        (
            "RELEASE",
            "RELEASED",
            [
                ("released", "escrow:held", -450_000),
                ("released", "stripe:balance", 438_750),
                ("released", "platform:fees", 11_250),
            ],
        ),
        (
            "REFUND",
            "REFUNDED",
            [("refunded", "escrow:held", -450_000), ("refunded", "stripe:balance", 450_000)],
        ),
    ],
)
async def test_a_moderator_decides_for_one_side(
    desk: "Desk", trade: "Trade", resolution: str, status: str, postings: list[Any]
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    rejected = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/reject", WORDS)
    assert rejected.status_code == 200, rejected.text
    dispute_id = rejected.json()["id"]
    shown = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}")).json()
    assert (shown["status"], shown["deliveries"][0]["status"]) == ("DISPUTED", "REJECTED")

    decided = await _staff(desk, escrow_id, dispute_id, resolution=resolution)
    assert (decided.status_code, decided.json()["status"]) == (200, "IN_REVIEW")
    await desk.work_later()

    assert await desk.status(escrow_id) == status
    assert await _moved(desk, escrow_id) == [*HELD, *postings]
    [dispute] = (await desk.get(trade.seller_id, f"/v1/escrows/{escrow_id}/disputes")).json()
    assert (dispute["status"], dispute["resolution"]) == ("RESOLVED", resolution)
    again = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes", WORDS)
    assert (again.status_code, again.json()["state"]) == (409, status)


async def test_a_split_pays_both_sides_and_sums_to_what_was_held(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.funded(trade)
    dispute_id = await _dispute(desk, trade.seller_id, escrow_id)
    decided = await _staff(desk, escrow_id, dispute_id, resolution="SPLIT", to_buyer=149_999)
    assert decided.status_code == 200, decided.text
    assert (await _state(desk, escrow_id))[:2] == ("DISPUTED", "SPLIT")
    await desk.work_later()
    # The buyer has the first leg; the second waits until the seller can be paid.
    assert (await _state(desk, escrow_id))[:2] == ("DISPUTED", None)
    shown = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}")).json()
    assert shown["waits_for"] == "SELLER_PAYOUT_ACCOUNT"
    place = f"/v1/escrows/{escrow_id}/disputes/{dispute_id}"
    late = await desk.post(trade.buyer_id, f"{place}/withdraw")
    assert (late.status_code, late.json()["type"].split("/")[-1]) == (409, "dispute-over")
    other = await desk.post(
        uuid4(), f"{place}/resolve", {"resolution": "REFUND", "reason": "No."}, roles=["moderator"]
    )
    assert (other.status_code, other.json()["type"].split("/")[-1]) == (409, "already-confirmed")
    await desk.make_payable(trade.seller_id)
    await desk.work_later()

    assert await desk.status(escrow_id) == "RELEASED"
    assert await _moved(desk, escrow_id) == [
        *HELD,
        ("refunded", "escrow:held", -149_999),
        ("refunded", "stripe:balance", 149_999),
        ("released", "escrow:held", -300_001),
        ("released", "stripe:balance", 292_501),
        ("released", "platform:fees", 7_500),
    ]
    told = (await desk.told(escrow_id))[-1]
    assert (told["paid_to_seller"], told["refunded_to_buyer"], told["fee"]) == (
        292_501,
        149_999,
        7_500,
    )
    assert len(told["references"]) == 2
    assert [len(await desk.provider.objects(kind)) for kind in ("refund", "transfer")] == [1, 1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"resolution": "SPLIT"}, 422),
        ({"resolution": "SPLIT", "to_buyer": 450_000}, 422),
        ({"resolution": "SPLIT", "to_buyer": 0}, 422),
        ({"resolution": "SPLIT", "to_buyer": 1.5}, 422),
        ({"resolution": "REFUND", "to_buyer": 1}, 422),
        ({"resolution": "KEEP"}, 422),
    ],
)
async def test_a_decision_that_does_not_add_up_changes_nothing(
    desk: "Desk", trade: "Trade", body: dict[str, Any], status: int
) -> None:
    escrow_id = await desk.funded(trade)
    dispute_id = await _dispute(desk, trade.buyer_id, escrow_id)
    answer = await _staff(desk, escrow_id, dispute_id, **body)
    assert answer.status_code == status, answer.text
    assert (await _state(desk, escrow_id))[:2] == ("DISPUTED", None)
    assert await desk.provider.objects("refund") == []


async def test_both_sides_take_a_dispute_back_and_the_periods_start_again(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await desk.delivered(trade)
    first = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}")).json()["release_by"]
    rejected = await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/reject", WORDS)
    place = f"/v1/escrows/{escrow_id}/disputes/{rejected.json()['id']}"
    await clock.advance(timedelta(days=8))
    assert await desk.ticker.tick() == 0
    for _ in range(2):
        one = await desk.post(trade.buyer_id, f"{place}/withdraw")
        assert (one.status_code, one.json()["status"]) == (200, "OPEN")
    both = await desk.post(trade.seller_id, f"{place}/withdraw")
    assert (both.status_code, both.json()["status"]) == (200, "CLOSED")
    shown = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}")).json()
    assert (shown["status"], shown["deliveries"][0]["status"]) == ("DELIVERED", "DELIVERED")
    assert datetime.fromisoformat(shown["release_by"]) > datetime.fromisoformat(first) + timedelta(
        days=8
    )
    over = await desk.post(trade.buyer_id, f"{place}/evidence", {"statement": "One more thing."})
    assert over.status_code == 409
    taken = await desk.post(uuid4(), f"{place}/take", roles=["moderator"])
    assert taken.status_code == 409


async def test_only_the_two_sides_argue_and_only_others_decide(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.funded(trade)
    dispute_id = await _dispute(desk, trade.buyer_id, escrow_id)
    place = f"/v1/escrows/{escrow_id}/disputes/{dispute_id}"
    before = await _state(desk, escrow_id)
    decision = {"resolution": "REFUND", "reason": "Mine."}
    refused = [
        (await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/confirm")).status_code,
        (await desk.refund(trade.seller_id, escrow_id)).status_code,
        (await desk.deliver(trade, escrow_id)).status_code,
        (await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes", WORDS)).status_code,
        (await desk.post(trade.buyer_id, f"{place}/take", roles=["moderator"])).status_code,
        (await desk.post(trade.buyer_id, f"{place}/resolve", decision)).status_code,
        (await desk.post(uuid4(), f"{place}/resolve", decision)).status_code,
        (await desk.post(uuid4(), f"{place}/evidence", {"statement": "I know."})).status_code,
        (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/case")).status_code,
        (await desk.get(trade.buyer_id, "/v1/escrow/disputes")).status_code,
    ]
    assert refused == [409, 409, 409, 409, 403, 403, 404, 404, 403, 403]
    assert await _state(desk, escrow_id) == before

    said = await desk.post(trade.seller_id, f"{place}/evidence", {"statement": "It was there."})
    assert [one["statement"] for one in said.json()["evidence"]] == ["It was there."]
    case = (await desk.get(uuid4(), f"/v1/escrows/{escrow_id}/case", roles=["moderator"])).json()
    assert case["deal"]["amount"] == 450_000
    assert case["sealed_document"]["sha256"] == "b" * 64
    assert [payment["kind"] for payment in case["payments"]] == ["fund"]
    assert [one["status"] for one in case["disputes"]] == ["OPEN"]
    assert case["history"][-1]["action"] == "escrow.evidence_added"
    listed = (await desk.get(uuid4(), "/v1/escrow/disputes", roles=["admin"])).json()
    assert [one["id"] for one in listed["items"]] == [dispute_id]


async def test_a_dispute_and_the_automatic_payout_race_for_the_same_money(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    await _observe(desk, trade, escrow_id)
    await clock.advance(timedelta(days=7, seconds=1))
    answer, _ = await asyncio.gather(
        desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/reject", WORDS), desk.ticker.tick()
    )
    await desk.work_later()
    transfers = len(await desk.provider.objects("transfer"))
    assert (answer.status_code, await desk.status(escrow_id), transfers) in {
        (200, "DISPUTED", 0),
        (409, "RELEASED", 1),
    }
