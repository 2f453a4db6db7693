"""One connected account a seller, whatever happens while it is made."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk

PATH = "/v1/payout-account"


async def test_a_seller_onboards_and_is_payable(desk: "Desk") -> None:
    seller_id = uuid4()
    assert (await desk.get(seller_id, PATH)).json() == {"is_payable": False, "has_account": False}
    answer = await desk.post(seller_id, PATH)
    assert (answer.status_code, answer.json()["is_payable"]) == (200, False)
    assert (await desk.get(seller_id, PATH)).json() == {"is_payable": False, "has_account": True}
    await desk.provider.http.get(answer.json()["onboarding_url"])
    assert (await desk.get(seller_id, PATH)).json() == {"is_payable": True, "has_account": True}
    account = await desk.provider.only("account")
    row = await desk.database.one("SELECT * FROM payout_accounts")
    assert (row["user_id"], row["account_id"], row["is_payable"]) == (
        seller_id,
        account["id"],
        True,
    )


async def test_a_link_that_has_expired_is_replaced_by_asking_again(desk: "Desk") -> None:
    seller_id = uuid4()
    late = await desk.post(seller_id, PATH)
    opened_at = datetime.fromisoformat(late.json()["expires_at"])
    assert timedelta(0) < opened_at - datetime.now(UTC) <= timedelta(minutes=10)
    await desk.provider.http.post("/_sim/clock", json={"seconds": 601})
    page = await desk.provider.http.get(late.json()["onboarding_url"])
    assert page.status_code == 404
    assert (await desk.get(seller_id, PATH)).json() == {"is_payable": False, "has_account": True}

    again = await desk.post(seller_id, PATH)
    assert again.json()["onboarding_url"] != late.json()["onboarding_url"]
    await desk.provider.http.get(again.json()["onboarding_url"])
    assert (await desk.get(seller_id, PATH)).json() == {"is_payable": True, "has_account": True}
    account = await desk.provider.only("account")
    assert (account["configurations"], account["dashboard"]) == (["recipient"], "express")


async def test_asking_often_and_at_once_makes_one_account(desk: "Desk") -> None:
    seller_id = uuid4()
    answers = await asyncio.gather(*(desk.post(seller_id, PATH) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert (await desk.post(seller_id, PATH)).status_code == 200
    await desk.provider.only("account")
    assert len(set(await desk.provider.posts("/v2/core/accounts"))) == 1


async def test_an_answer_that_is_lost_makes_no_second_account(desk: "Desk") -> None:
    seller_id = uuid4()
    await desk.provider.misbehave("/v2/core/accounts", "timeout", when="after", seconds=1.5)
    lost = await desk.post(seller_id, PATH)
    assert (lost.status_code, lost.headers["Retry-After"]) == (503, "5")
    assert (await desk.post(seller_id, PATH)).status_code == 200
    await desk.provider.only("account")


async def test_a_refused_account_may_be_asked_for_anew(desk: "Desk") -> None:
    seller_id = uuid4()
    body = {"error": {"type": "invalid_request_error", "code": "no", "message": "no"}}
    await desk.provider.misbehave("/v2/core/accounts", "fail", status=400, body=body)
    assert (await desk.post(seller_id, PATH)).status_code == 503
    assert (await desk.post(seller_id, PATH)).status_code == 200
    states = await desk.database.rows("SELECT state FROM intents ORDER BY id")
    assert [row["state"] for row in states] == ["FAILED", "ACCEPTED"]


async def test_a_link_is_handed_out_once_per_key(desk: "Desk") -> None:
    seller_id = uuid4()
    assert (await desk.post(seller_id, PATH, key="k")).status_code == 200
    again = await desk.post(seller_id, PATH, key="k")
    assert again.json()["type"].endswith("/idempotency-answer-not-kept")


async def test_what_was_last_known_is_shown_while_stripe_is_away(desk: "Desk") -> None:
    seller_id = uuid4()
    await desk.make_payable(seller_id)
    await desk.provider.misbehave("/v2/core/accounts/", "fail", method="GET", status=500)
    assert (await desk.get(seller_id, PATH)).json() == {"is_payable": True, "has_account": True}
