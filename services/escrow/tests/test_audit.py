"""Every command of a person leaves one audit row for what it changed: who, from where, by which
request.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from escrow.use_cases import opening

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

STAFF: dict[str, Any] = {"roles": ["moderator"]}
WORDS = {"title": "No", "description": "No."}
REASON = {"reason": "Looked at."}
OURS = {"escrows", "disputes", "holds", "books", "payout account"}
ALL = {
    *(
        f"/v1/escrows/{{escrow_id}}/{command}"
        for command in (
            *("payment", "deliver", "confirm", "reject", "refund", "cancel", "disputes", "holds"),
            *(f"disputes/{{dispute_id}}/{one}" for one in ("evidence", "withdraw", "take")),
            *("disputes/{dispute_id}/resolve", "holds/{hold_id}/lift"),
        )
    ),
    *(f"/v1/escrow/suspense/{{payment_id}}/{how}" for how in ("attribute", "return")),
    "/v1/payout-account",
}


class Walk:
    """Acts, and checks after each act what was recorded of it."""

    def __init__(self, desk: "Desk") -> None:
        self.desk = desk
        self.done: set[str] = set()

    async def __call__(
        self, user_id: UUID, path: str, body: Any = None, *, status: int = 200, **ids: Any
    ) -> dict[str, Any]:
        claims = ids.pop("claims", {})
        answer = await self.desk.post(user_id, path.format(**ids), body, **claims)
        assert answer.status_code == status, answer.text
        rows = await self.desk.database.rows(
            "SELECT subject_type, subject_id, user_id, ip, request_id FROM audit_logs"
            " WHERE request_id = $1",
            answer.headers["X-Request-Id"],
        )
        assert len(rows) == 1, (path, rows)
        assert (rows[0]["user_id"], rows[0]["ip"]) == (user_id, "127.0.0.1"), path
        self.done.add(path)
        said: dict[str, Any] = answer.json()
        return said


async def _disputed_release(walk: Walk, trade: "Trade", escrow_id: UUID) -> None:
    at = "/v1/escrows/{escrow_id}"
    one, two = trade.buyer_id, trade.seller_id
    hold = await walk(
        uuid4(), f"{at}/holds", {"kind": "STAFF", **REASON}, escrow_id=escrow_id, claims=STAFF
    )
    lift = f"{at}/holds/{{hold_id}}/lift"
    await walk(uuid4(), lift, REASON, escrow_id=escrow_id, hold_id=hold["id"], claims=STAFF)
    await walk(two, f"{at}/deliver", WORDS, escrow_id=escrow_id)
    first = (await walk(one, f"{at}/disputes", WORDS, escrow_id=escrow_id))["id"]
    for user_id in (one, two):
        path = f"{at}/disputes/{{dispute_id}}/withdraw"
        await walk(user_id, path, escrow_id=escrow_id, dispute_id=first)
    second = (await walk(one, f"{at}/reject", WORDS, escrow_id=escrow_id))["id"]
    ids = {"escrow_id": escrow_id, "dispute_id": second}
    at = f"{at}/disputes/{{dispute_id}}"
    moderator = uuid4()
    await walk(two, f"{at}/evidence", {"statement": "Look."}, **ids)
    await walk(moderator, f"{at}/take", claims=STAFF, **ids)
    decision = {"resolution": "RELEASE", **REASON}
    await walk(moderator, f"{at}/resolve", decision, claims=STAFF, **ids)


async def test_every_command_writes_one_row_with_actor_address_and_request(
    desk: "Desk", trade: "Trade"
) -> None:
    walk = Walk(desk)
    at = "/v1/escrows/{escrow_id}"
    body = {"error": {"type": "invalid_request_error", "code": "no", "message": "no"}}
    await desk.provider.misbehave("/v1/payment_intents", "fail", status=400, body=body, times=1)
    escrow_id = await desk.open(trade)
    await walk(trade.buyer_id, f"{at}/payment", escrow_id=escrow_id, status=202)
    await desk.work()
    await desk.pay(trade, escrow_id)
    await desk.provider.say(
        "payment_intent", (await desk.provider.only("payment_intent"))["id"], transfer_group="x"
    )
    await desk.work_later()
    payment = await desk.database.one("SELECT id FROM intents WHERE received IS NOT NULL")
    suspense = "/v1/escrow/suspense/{payment_id}"
    attributed = {"payment_id": payment["id"], "claims": STAFF}
    await walk(uuid4(), f"{suspense}/attribute", REASON, **attributed)
    await _disputed_release(walk, trade, escrow_id)
    await walk(trade.seller_id, "/v1/payout-account")

    for command, party in (("confirm", "buyer_id"), ("refund", "seller_id")):
        await desk.provider.reset()
        other = type(trade)()
        made = await (desk.delivered if command == "confirm" else desk.funded)(other)
        said = REASON if command == "refund" else None
        await walk(getattr(other, party), f"{at}/{command}", said, escrow_id=made)

    await desk.provider.reset()
    lost = type(trade)()
    made = await desk.open(lost)
    opened = await desk.database.one("SELECT created_at FROM escrows WHERE id = $1", made)
    async with desk.database.sessions.begin() as session:
        check = lost.not_verified(opened["created_at"] + timedelta(seconds=9))
        await opening.note_ownership(session, check)
    await walk(lost.buyer_id, f"{at}/cancel", escrow_id=made)

    await desk.provider.reset()
    misfit = type(trade)()
    made = await desk.open(misfit)
    await desk.pay(misfit, made)
    paid = await desk.provider.only("payment_intent")
    await desk.provider.say("payment_intent", paid["id"], amount_received=1)
    await desk.work_later()
    payment = await desk.database.one("SELECT id FROM intents WHERE received = 1")
    await walk(uuid4(), f"{suspense}/return", REASON, payment_id=payment["id"], claims=STAFF)

    document = (await desk.http.get("/v1/escrow/openapi.json")).json()
    commands = {
        path
        for path, methods in document["paths"].items()
        if "post" in methods and set(methods["post"]["tags"]) <= OURS
    }
    assert walk.done == ALL
    assert commands == ALL


HOSTILE = [
    "1.5",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e3",
    '"1.005"',
    '"1000"',
    "-1",
    "0",
    "-0",
    "9223372036854775808",
    "9" * 38,
    '"\uff11\uff12\uff13"',
    "true",
    "[1]",
    "{}",
]


@pytest.mark.parametrize("amount", HOSTILE)
async def test_an_amount_that_is_no_whole_number_of_cents_moves_nothing(
    desk: "Desk", trade: "Trade", amount: str
) -> None:
    escrow_id, dispute_id = uuid4(), uuid4()
    headers = desk.issuer.authorization(uuid4(), **STAFF)
    headers |= {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    answer = await desk.http.post(
        f"/v1/escrows/{escrow_id}/disputes/{dispute_id}/resolve",
        content=f'{{"resolution": "SPLIT", "reason": "x", "to_buyer": {amount}}}'.encode(),
        headers=headers,
    )
    assert answer.status_code in {400, 422}
    if answer.status_code == 422:
        assert "to_buyer" in answer.text
