"""A trade in milestones: agreed by both sides, then settled one by one, to the cent."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from escrow.use_cases import silence
from shared.events.identity import AssetTransferObserved
from shared.testing import connection

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

    from shared.testing import Clock

INVARIANTS = Path(__file__).parents[3] / "deploy/postgres/invariants"
PLAN = [
    {"title": "The map", "amount": 100_020},
    {"title": "The code", "amount": 149_980},
    {"title": "The handover", "amount": 200_000},
]
FEES = [2_501, 3_749, 5_000]
"""2.5 % of what is due up to each: alone, the second would be 3,750, a cent more in total."""
HELD = [("funded", "stripe:balance", -450_000), ("funded", "escrow:held", 450_000)]
WORDS = {"title": "Not what was sold", "description": "The map is missing."}


def released(number: int) -> list[tuple[str, str, int]]:
    amount, fee = int(str(PLAN[number - 1]["amount"])), FEES[number - 1]
    return [
        ("released", "escrow:held", -amount),
        ("released", "stripe:balance", amount - fee),
        ("released", "platform:fees", fee),
    ]


def refunded(amount: int) -> list[tuple[str, str, int]]:
    return [("refunded", "escrow:held", -amount), ("refunded", "stripe:balance", amount)]


async def propose(
    desk: "Desk", user_id: UUID, escrow_id: UUID, plan: list[Any] = PLAN, **claims: Any
) -> httpx.Response:
    path = f"/v1/escrows/{escrow_id}/milestones"
    return await desk.post(user_id, path, {"milestones": plan}, **claims)


async def accept(desk: "Desk", user_id: UUID, escrow_id: UUID, version: int = 1) -> httpx.Response:
    path = f"/v1/escrows/{escrow_id}/milestones/accept"
    return await desk.post(user_id, path, {"version": version})


async def divided(desk: "Desk", trade: "Trade") -> UUID:
    escrow_id = await desk.open(trade)
    assert (await propose(desk, trade.seller_id, escrow_id)).status_code == 200
    assert (await accept(desk, trade.buyer_id, escrow_id)).status_code == 200
    return escrow_id


async def funded(desk: "Desk", trade: "Trade") -> UUID:
    escrow_id = await divided(desk, trade)
    await desk.pay(trade, escrow_id)
    await desk.work_later()
    assert await states(desk) == ["FUNDS_HELD"] * 3
    return escrow_id


async def act(
    desk: "Desk",
    user_id: UUID,
    escrow_id: UUID,
    number: int,
    what: str,
    body: dict[str, Any] | None = None,
    **claims: Any,
) -> httpx.Response:
    path = f"/v1/escrows/{escrow_id}/milestones/{number}/{what}"
    return await desk.post(user_id, path, body, **claims)


async def deliver(desk: "Desk", trade: "Trade", escrow_id: UUID, *numbers: int) -> None:
    for number in numbers:
        said = {"title": "Done", "description": "See the place."}
        answer = await act(desk, trade.seller_id, escrow_id, number, "deliver", said)
        assert answer.status_code == 200, answer.text


async def confirm(desk: "Desk", trade: "Trade", escrow_id: UUID, number: int) -> httpx.Response:
    return await act(desk, trade.buyer_id, escrow_id, number, "confirm")


async def refund(desk: "Desk", user_id: UUID, escrow_id: UUID, number: int) -> httpx.Response:
    return await act(desk, user_id, escrow_id, number, "refund", {"reason": "Not made."})


async def dispute(desk: "Desk", user_id: UUID, escrow_id: UUID, number: int) -> str:
    answer = await act(desk, user_id, escrow_id, number, "disputes", WORDS)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def decide(desk: "Desk", escrow_id: UUID, dispute_id: str, **body: Any) -> None:
    moderator, place = uuid4(), f"/v1/escrows/{escrow_id}/disputes/{dispute_id}"
    await desk.post(moderator, f"{place}/take", roles=["moderator"])
    decision = {"reason": "As agreed.", **body}
    answer = await desk.post(moderator, f"{place}/resolve", decision, roles=["moderator"])
    assert answer.status_code == 200, answer.text


async def observe(desk: "Desk", trade: "Trade", escrow_id: UUID) -> None:
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


async def states(desk: "Desk") -> list[str]:
    rows = await desk.database.rows("SELECT status FROM milestone_escrows ORDER BY position")
    return [row["status"] for row in rows]


async def settling(desk: "Desk") -> list[str | None]:
    rows = await desk.database.rows("SELECT settling FROM milestone_escrows ORDER BY position")
    return [row["settling"] for row in rows]


async def everything(desk: "Desk") -> list[Any]:
    """All that a refusal must leave as it was."""
    tables = ("escrows", "milestone_plans", "milestone_escrows", "intents", "outbox", "disputes")
    found = []
    for table in tables:
        rows = await desk.database.rows(f"SELECT * FROM {table} ORDER BY 1")
        found.append([tuple(row.values()) for row in rows])
    return found


async def moved(desk: "Desk", escrow_id: UUID) -> list[tuple[str, str, int]]:
    return [row[:3] for row in await desk.postings(escrow_id) if row[0] != "provider_fee"]


async def check_invariants(desk: "Desk") -> None:
    """Those of escrow's own tables hold, and every move in the trail is legal."""
    for name in ("I04", "I05", "I06", "I07", "I10"):
        [file] = INVARIANTS.glob(f"{name}-*.sql")
        assert await desk.database.rows(file.read_text()) == [], name


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_one_side_proposes_and_the_other_agrees_to_exactly_that(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    halves = [{"title": "First", "amount": 225_000}, {"title": "Second", "amount": 225_000}]
    first = await propose(desk, trade.buyer_id, escrow_id, halves)
    assert (first.json()["plan"]["version"], first.json()["milestones"]) == (1, [])
    second = await propose(desk, trade.seller_id, escrow_id)
    assert second.json()["plan"]["version"] == 2
    assert second.json()["plan"]["milestones"] == PLAN
    before = await everything(desk)
    assert problem(await accept(desk, trade.buyer_id, escrow_id, 1)) == (
        409,
        "milestone-plan-changed",
    )
    assert problem(await accept(desk, trade.seller_id, escrow_id, 2)) == (403, "not-your-move")
    assert problem(await accept(desk, uuid4(), escrow_id, 2)) == (404, "escrow-not-found")
    assert await everything(desk) == before

    agreed = (await accept(desk, trade.buyer_id, escrow_id, 2)).json()
    shown = [
        (one["position"], one["title"], one["amount"], one["fee"], one["payout"], one["status"])
        for one in agreed["milestones"]
    ]
    assert shown == [
        (1, "The map", 100_020, 2_501, 97_519, "AWAIT_FUNDS"),
        (2, "The code", 149_980, 3_749, 146_231, "AWAIT_FUNDS"),
        (3, "The handover", 200_000, 5_000, 195_000, "AWAIT_FUNDS"),
    ]
    view = (await desk.get(trade.seller_id, f"/v1/escrows/{escrow_id}")).json()
    assert view["milestones"] == agreed["milestones"]
    told = await desk.told(escrow_id)
    assert [fact["topic"] for fact in told] == ["escrow.created"] + ["escrow.milestone_changed"] * 3
    assert [fact["milestone_amount"] for fact in told[1:]] == [100_020, 149_980, 200_000]
    assert [fact["version"] for fact in told] == sorted({fact["version"] for fact in told})

    before = await everything(desk)
    refusals = [
        await accept(desk, trade.buyer_id, escrow_id, 2),
        await propose(desk, trade.seller_id, escrow_id, halves),
    ]
    assert [problem(one) for one in refusals] == [(409, "milestone-plan-agreed")] * 2
    assert await everything(desk) == before


@pytest.mark.parametrize(
    "plan",
    [
        [{"title": "All", "amount": 450_000}],
        [{"title": "Part", "amount": 225_000}, {"title": "Part", "amount": 225_001}],
        [{"title": "Part", "amount": 225_000}, {"title": "Part", "amount": 224_999}],
        [{"title": "Small", "amount": 49}, {"title": "Part", "amount": 449_951}],
        [{"title": "Part", "amount": 225_000.0}, {"title": "Part", "amount": 225_000}],
        [{"title": "Part", "amount": "225000"}, {"title": "Part", "amount": 225_000}],
        [{"title": " ", "amount": 225_000}, {"title": "Part", "amount": 225_000}],
        [{"title": "P", "amount": 225_000, "fee": 0}, {"title": "P", "amount": 225_000}],
        [{"title": "Many", "amount": 20_000}] * 20 + [{"title": "Last", "amount": 50_000}],
    ],
    ids=["one", "more", "less", "small", "float", "text", "untitled", "unknown", "too many"],
)
async def test_milestones_that_do_not_add_up_are_refused(
    desk: "Desk", trade: "Trade", plan: list[Any]
) -> None:
    escrow_id = await desk.open(trade, work=False)
    before = await everything(desk)
    answer = await propose(desk, trade.seller_id, escrow_id, plan)
    assert answer.status_code == 422
    assert "milestones" in answer.text
    assert await everything(desk) == before


async def test_a_fee_that_leaves_nothing_of_a_milestone_refuses_it(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade, work=False, fee=449_999)
    small = [{"title": "Small", "amount": 50}, {"title": "Rest", "amount": 449_950}]
    assert problem(await propose(desk, trade.seller_id, escrow_id, small)) == (
        422,
        "milestone-plan-does-not-fit",
    )


async def test_only_the_two_sides_divide_and_only_before_a_payment(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    assert problem(await accept(desk, trade.buyer_id, escrow_id)) == (
        404,
        "milestone-plan-not-found",
    )
    assert (await propose(desk, trade.seller_id, escrow_id)).status_code == 200
    strangers = [
        await propose(desk, uuid4(), escrow_id),
        await propose(desk, uuid4(), escrow_id, roles=["moderator"]),
    ]
    assert [one.status_code for one in strangers] == [404, 404]

    await desk.database.rows("UPDATE intents SET provider_status = 'processing'")
    before = await everything(desk)
    assert problem(await accept(desk, trade.buyer_id, escrow_id)) == (409, "payment-made")
    assert problem(await propose(desk, trade.buyer_id, escrow_id)) == (409, "payment-made")
    assert await everything(desk) == before

    await desk.pay(trade, escrow_id)
    await desk.work_later()
    refused = await accept(desk, trade.buyer_id, escrow_id)
    assert (problem(refused), refused.json()["state"]) == ((409, "illegal-move"), "FUNDS_HELD")
    assert await states(desk) == []
    assert (await desk.deliver(trade, escrow_id)).status_code == 200


async def test_agreement_and_payment_at_once_leave_a_whole_trade_or_a_divided_one(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade)
    await propose(desk, trade.seller_id, escrow_id)
    await desk.pay(trade, escrow_id)
    answer, _ = await asyncio.gather(accept(desk, trade.buyer_id, escrow_id), desk.work_later())
    await desk.work_later()
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    assert (answer.status_code, await states(desk)) in [
        (200, ["FUNDS_HELD"] * 3),
        (409, []),
    ]
    await check_invariants(desk)


async def test_agreement_and_another_proposal_at_once_agree_to_one_of_them(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await desk.open(trade, work=False)
    await propose(desk, trade.seller_id, escrow_id)
    halves = [{"title": "First", "amount": 225_000}, {"title": "Second", "amount": 225_000}]
    agreed, proposed = await asyncio.gather(
        accept(desk, trade.buyer_id, escrow_id),
        propose(desk, trade.seller_id, escrow_id, halves),
    )
    assert (agreed.status_code, proposed.status_code, len(await states(desk))) in {
        (200, 409, 3),
        (409, 200, 0),
    }


async def test_milestones_are_settled_one_by_one_and_the_last_ends_the_trade(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    await deliver(desk, trade, escrow_id, 1, 3)
    assert await states(desk) == ["DELIVERED", "FUNDS_HELD", "DELIVERED"]
    shown = (await confirm(desk, trade, escrow_id, 1)).json()
    assert [one["settling"] for one in shown["milestones"]] == ["RELEASE", None, None]
    await desk.work_later()
    assert await moved(desk, escrow_id) == [*HELD, *released(1)]

    assert (await refund(desk, trade.seller_id, escrow_id, 2)).status_code == 200
    await desk.work_later()
    assert await moved(desk, escrow_id) == [*HELD, *released(1), *refunded(149_980)]
    assert await states(desk) == ["RELEASED", "REFUNDED", "DELIVERED"]
    assert await desk.status(escrow_id) == "FUNDS_HELD"
    await check_invariants(desk)

    rejected = await act(desk, trade.buyer_id, escrow_id, 3, "reject", WORDS)
    await decide(desk, escrow_id, rejected.json()["id"], resolution="SPLIT", to_buyer=80_001)
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    assert await moved(desk, escrow_id) == [
        *HELD,
        *released(1),
        *refunded(149_980),
        *refunded(80_001),
        ("released", "escrow:held", -119_999),
        ("released", "stripe:balance", 116_999),
        ("released", "platform:fees", 3_000),
    ]
    told = await desk.told(escrow_id)
    end = told[-1]
    assert [fact["topic"] for fact in told].count("escrow.released") == 1
    assert (end["topic"], end["status"]) == ("escrow.released", "RELEASED")
    assert (end["paid_to_seller"], end["refunded_to_buyer"], end["fee"]) == (
        97_519 + 116_999,
        149_980 + 80_001,
        2_501 + 3_000,
    )
    assert end["paid_to_seller"] + end["refunded_to_buyer"] + end["fee"] == 450_000
    objects = await desk.database.rows(
        "SELECT business_key, object_id FROM intents WHERE kind <> 'fund' AND escrow_id IS NOT NULL"
        " ORDER BY id"
    )
    assert [row["business_key"] for row in objects] == [
        f"release:{escrow_id}:m1:1",
        f"refund:{escrow_id}:m2:1",
        f"refund:{escrow_id}:m3:1",
        f"release:{escrow_id}:m3:1",
    ]
    assert end["references"] == [row["object_id"] for row in objects]
    assert [fact["version"] for fact in told] == sorted({fact["version"] for fact in told})
    changes = [f for f in told if f["topic"] == "escrow.milestone_changed" and f["position"] == 3]
    assert [fact["milestone_status"] for fact in changes] == [
        "AWAIT_FUNDS",
        "FUNDS_HELD",
        "DELIVERED",
        "DISPUTED",
        "RELEASED",
    ]
    shown = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}")).json()
    assert [one["status"] for one in shown["deliveries"]] == ["CONFIRMED", "REJECTED"]
    ids = [one["id"] for one in shown["milestones"]]
    assert [one["milestone_id"] for one in shown["deliveries"]] == [ids[0], ids[2]]
    [case] = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes")).json()
    assert (case["milestone_id"], case["status"]) == (ids[2], "RESOLVED")
    page = await desk.get(uuid4(), f"/v1/escrows/{escrow_id}/case", roles=["moderator"])
    done = [change["action"] for change in page.json()["history"]]
    assert done.count("escrow.released") == 3
    await check_invariants(desk)


async def test_all_paid_out_bear_the_stamped_fee_and_payouts_run_side_by_side(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    await deliver(desk, trade, escrow_id, 1, 2, 3)
    answers = await asyncio.gather(
        *(confirm(desk, trade, escrow_id, number) for number in (1, 2, 3, 1, 2, 3))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 3
    assert {problem(a) for a in answers if a.status_code == 409} == {(409, "settling")}
    assert await settling(desk) == ["RELEASE"] * 3
    await asyncio.gather(*(desk.runner_of_its_own().run_one() for _ in range(3)))
    await desk.work_later()
    assert await desk.status(escrow_id) == "RELEASED"
    transfers = await desk.provider.objects("transfer")
    assert sorted(one["amount"] for one in transfers) == [97_519, 146_231, 195_000]
    rows = await moved(desk, escrow_id)
    assert sorted(rows) == sorted([*HELD, *released(1), *released(2), *released(3)])
    assert sum(amount for _, account, amount in rows if account == "platform:fees") == 11_250
    end = (await desk.told(escrow_id))[-1]
    assert (end["paid_to_seller"], end["fee"]) == (438_750, 11_250)
    await check_invariants(desk)


async def test_what_is_all_given_back_ends_refunded_and_bears_no_fee(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    dispute_id = await dispute(desk, trade.buyer_id, escrow_id, 2)
    await decide(desk, escrow_id, dispute_id, resolution="REFUND")
    for number in (1, 3):
        assert (await refund(desk, trade.seller_id, escrow_id, number)).status_code == 200
    await desk.work_later()
    assert await desk.status(escrow_id) == "REFUNDED"
    assert sorted(await moved(desk, escrow_id)) == sorted(
        [*HELD, *refunded(100_020), *refunded(149_980), *refunded(200_000)]
    )
    end = (await desk.told(escrow_id))[-1]
    assert end["topic"] == "escrow.refunded"
    assert (end["paid_to_seller"], end["refunded_to_buyer"], end["fee"]) == (0, 450_000, 0)
    assert len(end["references"]) == 3
    await check_invariants(desk)


async def test_a_divided_trade_is_not_moved_as_a_whole(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await funded(desk, trade)
    before = await everything(desk)
    refused = [
        await desk.deliver(trade, escrow_id),
        await desk.confirm(trade, escrow_id),
        await desk.refund(trade.seller_id, escrow_id),
        await desk.refund(uuid4(), escrow_id, roles=["admin"]),
        await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/cancel"),
        await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes", WORDS),
        await desk.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/reject", WORDS),
    ]
    assert [problem(one) for one in refused] == [(409, "is-divided")] * 7
    assert f"/v1/escrows/{escrow_id}/milestones/" in refused[0].json()["detail"]
    assert await everything(desk) == before


async def test_a_milestone_obeys_the_lifecycle_and_the_roles(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await funded(desk, trade)
    await deliver(desk, trade, escrow_id, 1)
    said = {"title": "Done", "description": "See the place."}
    before = await everything(desk)
    refused = [
        await act(desk, trade.buyer_id, escrow_id, 2, "deliver", said),
        await act(desk, uuid4(), escrow_id, 2, "deliver", said),
        await act(desk, trade.seller_id, escrow_id, 1, "confirm"),
        await confirm(desk, trade, escrow_id, 2),
        await refund(desk, trade.seller_id, escrow_id, 1),
        await act(desk, trade.seller_id, escrow_id, 1, "deliver", said),
        await act(desk, trade.seller_id, escrow_id, 4, "deliver", said),
        await act(desk, trade.seller_id, escrow_id, 0, "deliver", said),
        await act(desk, trade.buyer_id, escrow_id, 2, "cancel"),
        await act(desk, trade.buyer_id, escrow_id, 1, "cancel"),
    ]
    assert [problem(one) for one in refused] == [
        (403, "not-your-move"),
        (404, "escrow-not-found"),
        (403, "not-your-move"),
        (409, "illegal-move"),
        (409, "illegal-move"),
        (409, "illegal-move"),
        (404, "milestone-not-found"),
        (422, "invalid-request"),
        (409, "reclaim-not-open"),
        (409, "illegal-move"),
    ]
    assert refused[3].json()["state"] == "FUNDS_HELD"
    assert await everything(desk) == before


async def test_a_refund_and_a_payout_of_two_milestones_run_at_once(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    await deliver(desk, trade, escrow_id, 1)
    paid, back, twice = await asyncio.gather(
        confirm(desk, trade, escrow_id, 1),
        refund(desk, trade.seller_id, escrow_id, 2),
        refund(desk, trade.seller_id, escrow_id, 1),
    )
    assert [paid.status_code, back.status_code, twice.status_code] == [200, 200, 409]
    assert await settling(desk) == ["RELEASE", "REFUND", None]
    await asyncio.gather(*(desk.runner_of_its_own().run_one() for _ in range(2)))
    await desk.work_later()
    assert await states(desk) == ["RELEASED", "REFUNDED", "FUNDS_HELD"]
    assert sorted(await moved(desk, escrow_id)) == sorted([*HELD, *released(1), *refunded(149_980)])
    await check_invariants(desk)
    await desk.database.rows("UPDATE intents SET amount = amount + 1 WHERE kind = 'refund'")
    [broken] = await desk.database.rows((INVARIANTS / "I06-release-xor.sql").read_text())
    assert (broken["received"], broken["going_out"]) == (149_980, 149_981)


async def test_a_refund_that_fails_leaves_only_its_milestone_open(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    await refund(desk, trade.seller_id, escrow_id, 2)
    await desk.runner.run_one()
    await desk.provider.say("refund", (await desk.provider.only("refund"))["id"], status="failed")
    await desk.work()
    assert (await states(desk), await settling(desk)) == (["FUNDS_HELD"] * 3, [None] * 3)
    assert await moved(desk, escrow_id) == HELD
    assert (await refund(desk, trade.seller_id, escrow_id, 2)).status_code == 200
    await desk.work_later()
    assert await states(desk) == ["FUNDS_HELD", "REFUNDED", "FUNDS_HELD"]
    await check_invariants(desk)


async def test_every_milestone_that_waits_is_paid_when_the_seller_can_be(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    await deliver(desk, trade, escrow_id, 1, 2)
    for number in (1, 2):
        shown = (await confirm(desk, trade, escrow_id, number)).json()["milestones"][number - 1]
        assert (shown["settling"], shown["waits_for"]) == (None, "SELLER_PAYOUT_ACCOUNT")
    assert problem(await confirm(desk, trade, escrow_id, 1)) == (409, "already-confirmed")
    await desk.make_payable(trade.seller_id)
    await desk.work()
    assert await states(desk) == ["RELEASED", "RELEASED", "FUNDS_HELD"]
    assert len(await desk.provider.objects("transfer")) == 2


async def test_a_payout_that_the_account_refuses_is_made_again_for_its_milestone(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    account = await desk.provider.only("account")
    await desk.provider.say("account", account["id"], is_active=False)
    await deliver(desk, trade, escrow_id, 2)
    await confirm(desk, trade, escrow_id, 2)
    await desk.work()
    assert (await states(desk), await settling(desk)) == (
        ["FUNDS_HELD", "DELIVERED", "FUNDS_HELD"],
        [None] * 3,
    )
    await desk.provider.say("account", account["id"], is_active=True)
    await desk.work_later()
    assert await states(desk) == ["FUNDS_HELD", "RELEASED", "FUNDS_HELD"]
    tries = await desk.database.rows(
        "SELECT business_key, state FROM intents WHERE kind = 'release' ORDER BY id"
    )
    assert [tuple(row.values()) for row in tries] == [
        (f"release:{escrow_id}:m2:1", "FAILED"),
        (f"release:{escrow_id}:m2:2", "SETTLED"),
    ]
    assert await moved(desk, escrow_id) == [*HELD, *released(2)]


async def test_silence_decides_for_each_milestone_by_itself(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    await deliver(desk, trade, escrow_id, 1)
    await clock.advance(timedelta(days=1))
    await deliver(desk, trade, escrow_id, 2)
    await clock.advance(timedelta(days=7, minutes=1))
    assert await desk.ticker.tick() == 1
    assert await states(desk) == ["DISPUTED", "DELIVERED", "FUNDS_HELD"]
    [opened] = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes")).json()
    assert (opened["opened_by"], opened["opened_from"]) == (None, "DELIVERED")

    await observe(desk, trade, escrow_id)
    await clock.advance(timedelta(days=8, minutes=2))
    answer, _ = await asyncio.gather(confirm(desk, trade, escrow_id, 2), desk.ticker.tick())
    assert answer.status_code in {200, 409}
    await desk.work_later()
    assert await states(desk) == ["DISPUTED", "RELEASED", "FUNDS_HELD"]
    assert await moved(desk, escrow_id) == [*HELD, *released(2)]
    assert len(await desk.provider.posts("/v1/transfers")) == 1

    await clock.advance(timedelta(days=38, minutes=1))
    assert await desk.ticker.tick() == 1
    [opened] = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes")).json()
    assert (opened["alerted_at"] is not None, opened["status"]) == (True, "OPEN")


async def test_the_buyer_takes_back_only_what_was_not_delivered_in_time(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await funded(desk, trade)
    await deliver(desk, trade, escrow_id, 1)
    await clock.advance(timedelta(days=14, seconds=1))
    answers = [await act(desk, trade.buyer_id, escrow_id, n, "cancel") for n in (1, 2, 3)]
    assert [answer.status_code for answer in answers] == [409, 200, 200]
    await desk.work_later()
    assert await states(desk) == ["DELIVERED", "REFUNDED", "REFUNDED"]
    last = (await desk.told(escrow_id))[-1]
    assert (last["milestone_status"], last["reason"]) == ("REFUNDED", "NOT_DELIVERED")
    assert await desk.status(escrow_id) == "FUNDS_HELD"


async def test_a_dispute_of_one_milestone_leaves_the_others_free(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    await deliver(desk, trade, escrow_id, 1, 2)
    dispute_id = await dispute(desk, trade.buyer_id, escrow_id, 1)
    other = await dispute(desk, trade.seller_id, escrow_id, 3)
    assert (await confirm(desk, trade, escrow_id, 2)).status_code == 200
    assert problem(await confirm(desk, trade, escrow_id, 1)) == (409, "illegal-move")
    await desk.work_later()
    assert await states(desk) == ["DISPUTED", "RELEASED", "DISPUTED"]

    await clock.advance(timedelta(days=8))
    for user_id in (trade.buyer_id, trade.seller_id):
        for one in (dispute_id, other):
            place = f"/v1/escrows/{escrow_id}/disputes/{one}"
            assert (await desk.post(user_id, f"{place}/withdraw")).status_code == 200
    assert await states(desk) == ["DELIVERED", "RELEASED", "FUNDS_HELD"]
    assert await desk.ticker.tick() == 0
    rows = await desk.database.rows(
        "SELECT release_by > clock() + interval '6 days' AS answers,"
        " deliver_by > clock() + interval '13 days' AS delivers"
        " FROM milestone_escrows ORDER BY position"
    )
    assert (rows[0]["answers"], rows[2]["delivers"]) == (True, True)


async def test_a_decision_about_a_milestone_moves_no_more_than_its_amount(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    place = f"/v1/escrows/{escrow_id}/disputes/{await dispute(desk, trade.buyer_id, escrow_id, 1)}"
    moderator = uuid4()
    await desk.post(moderator, f"{place}/take", roles=["moderator"])
    before = await everything(desk)
    for to_buyer in (100_020, 100_021, 0):
        decision = {"resolution": "SPLIT", "to_buyer": to_buyer, "reason": "No."}
        answer = await desk.post(moderator, f"{place}/resolve", decision, roles=["moderator"])
        assert answer.status_code == 422
    assert await everything(desk) == before


async def test_a_hold_stops_every_milestone(desk: "Desk", trade: "Trade", clock: "Clock") -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    await deliver(desk, trade, escrow_id, 1)
    placed = await desk.post(
        uuid4(),
        f"/v1/escrows/{escrow_id}/holds",
        {"kind": "STAFF", "reason": "Look."},
        roles=["moderator"],
    )
    assert placed.status_code == 200, placed.text
    refused = [
        await confirm(desk, trade, escrow_id, 1),
        await refund(desk, trade.seller_id, escrow_id, 2),
    ]
    assert [problem(one) for one in refused] == [(409, "on-hold")] * 2
    await clock.advance(timedelta(days=7, minutes=1))
    assert await desk.ticker.tick() == 1
    assert await states(desk) == ["DELIVERED", "FUNDS_HELD", "FUNDS_HELD"]
    said = {"reason": "By staff."}
    by_staff = await act(desk, uuid4(), escrow_id, 2, "refund", said, roles=["moderator"])
    assert by_staff.status_code == 200


async def test_a_chargeback_takes_what_is_held_and_costs_what_was_paid(
    desk: "Desk", trade: "Trade"
) -> None:
    escrow_id = await funded(desk, trade)
    await desk.make_payable(trade.seller_id)
    await deliver(desk, trade, escrow_id, 1, 2)
    await dispute(desk, trade.buyer_id, escrow_id, 2)
    await confirm(desk, trade, escrow_id, 1)
    charge = await desk.provider.only("charge")
    opened = await desk.provider.http.post("/_sim/disputes", json={"charge": charge["id"]})
    dispute_id = opened.json()["id"]
    await desk.provider.http.post(f"/_sim/disputes/{dispute_id}/lose")
    [closed] = await desk.provider.events("charge.dispute.closed")
    for number in range(2):
        await desk.webhook({**closed, "id": f"evt_{number}"})
    # While the payout is under way the chargeback waits for it.
    await desk.work_later()
    await desk.work_later()
    assert await states(desk) == ["RELEASED", "REFUNDED", "REFUNDED"]
    assert await desk.status(escrow_id) == "REFUNDED"
    assert await moved(desk, escrow_id) == [
        *HELD,
        *released(1),
        ("charged_back", "escrow:held", -349_980),
        ("charged_back", "stripe:balance", 349_980),
        ("chargeback_loss", "platform:chargeback_loss", -100_020),
        ("chargeback_loss", "stripe:balance", 100_020),
    ]
    end = (await desk.told(escrow_id))[-1]
    assert (end["topic"], end["reason"]) == ("escrow.refunded", "CHARGEBACK")
    assert (end["paid_to_seller"], end["refunded_to_buyer"], end["fee"]) == (
        97_519,
        349_980,
        2_501,
    )
    [case] = (await desk.get(trade.buyer_id, f"/v1/escrows/{escrow_id}/disputes")).json()
    assert case["status"] == "CLOSED"
    assert await desk.provider.posts("/v1/refunds") == []
    await check_invariants(desk)


async def test_an_unpaid_divided_trade_is_cancelled_with_its_milestones(
    desk: "Desk", trade: "Trade", clock: "Clock"
) -> None:
    escrow_id = await divided(desk, trade)
    await clock.advance(timedelta(days=3, minutes=1))
    assert await desk.ticker.tick() == 1
    await desk.work_later()
    assert await desk.status(escrow_id) == "CANCELLED"
    assert await states(desk) == ["CANCELLED"] * 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE milestone_escrows SET amount = amount + 1 WHERE position = 1",
        "UPDATE milestone_escrows SET fee = fee + 1 WHERE position = 1",
        "DELETE FROM milestone_escrows WHERE position = 1",
        "DELETE FROM milestone_escrows",
    ],
)
async def test_the_database_keeps_the_sum_of_the_milestones(
    desk: "Desk", trade: "Trade", change: str
) -> None:
    await divided(desk, trade)
    before = await everything(desk)
    async with connection(desk.database.app_dsn) as app:
        with pytest.raises(asyncpg.CheckViolationError, match="its amount and fee"):
            await app.execute(change)
    assert await everything(desk) == before
