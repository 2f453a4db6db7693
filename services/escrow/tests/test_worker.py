"""A worker is killed around its calls to Stripe; another one finishes what it began, once."""

import asyncio
import hashlib
import os
import signal
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

POINTS = ["str.after_intent", "str.after_call_before_save"]
PRICE, FEE, PAYOUT = 450_000, 11_250, 438_750
ENDS = {"escrow.released", "escrow.refunded"}
CAUSES = {"released", "refunded", "reversed"}


async def dies_at(desk: "Desk", point: str, log: Path) -> None:
    """Run a real worker, without a broker, until its crash point kills it."""
    plain = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": desk.database.app_dsn,
        "OPS_PORT": "0",
        "PUBLIC_URL": desk.settings.public_url,
        "JWT_ISSUER": desk.settings.jwt_issuer,
        "JWKS_URL": desk.settings.jwks_url,
        "S3_ENDPOINT_URL": desk.settings.s3_endpoint_url,
        "S3_ACCESS_KEY": desk.settings.s3_access_key,
        "S3_SECRET_KEY": desk.settings.s3_secret_key.get_secret_value(),
        "STRIPE_API_KEY": desk.settings.stripe_api_key.get_secret_value(),
        "STRIPE_API_URL": desk.settings.stripe_api_url,
        "STRIPE_WEBHOOK_SECRETS": "whsec_new",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "KAFKA_USERNAME": "escrow",
        "KAFKA_PASSWORD": "none",
        "KAFKA_USE_SSL": "false",
        "CRASH_AT": point,
    }
    environment = os.environ | {f"ESCROW_{name}": value for name, value in plain.items()}
    with log.open("wb") as output:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "escrow.worker", env=environment, stdout=output, stderr=output
        )
        try:
            died = await asyncio.wait_for(worker.wait(), 40)
        finally:
            if worker.returncode is None:
                worker.kill()
    assert died == -signal.SIGKILL


async def test_a_worker_killed_over_evidence_leaves_it_to_another(
    desk: "Desk", trade: "Trade", tmp_path: Path
) -> None:
    escrow_id = await desk.funded(trade)
    file_id = await desk.upload(trade.seller_id, escrow_id, b"Handed over.")
    await dies_at(desk, "evidence.after_put_before_row", tmp_path / "worker.log")
    row = await desk.database.one("SELECT status, sha256 FROM evidence_files")
    assert (row["status"], row["sha256"]) == ("CHECKING", None)
    sha256 = hashlib.sha256(b"Handed over.").hexdigest()
    key = f"clean/{escrow_id}/{file_id}/{sha256}"
    assert await desk.storage.read(key, 100) == b"Handed over."
    await recover(desk)

    row = await desk.database.one("SELECT status, sha256 FROM evidence_files")
    assert (row["status"], row["sha256"]) == ("READY", sha256)
    assert await desk.storage.read(key, 100) == b"Handed over."
    assert await desk.storage.read(f"incoming/{escrow_id}/{file_id}", 100) is None


async def recover(desk: "Desk") -> None:
    """What another worker does when the dead one's lease has run out."""
    await desk.database.rows(
        "UPDATE jobs SET lease_until = clock() - interval '1 s' WHERE status = 'PROCESSING'"
    )
    await desk.work_later()


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_worker_leaves_one_payment(
    desk: "Desk", trade: "Trade", tmp_path: Path, point: str
) -> None:
    await desk.open(trade, work=False)
    await dies_at(desk, point, tmp_path / "worker.log")
    before = await desk.provider.objects("payment_intent")
    assert len(before) == (1 if point == "str.after_call_before_save" else 0)
    await recover(desk)

    made = await desk.provider.only("payment_intent")
    assert before in ([], [made])
    intent = await desk.database.one("SELECT state, object_id FROM intents")
    assert (intent["state"], intent["object_id"]) == ("ACCEPTED", made["id"])
    assert len(set(await desk.provider.posts("/v1/payment_intents"))) == 1


async def _confirmed(desk: "Desk", trade: "Trade") -> UUID:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)
    assert (await desk.confirm(trade, escrow_id)).status_code == 200
    return escrow_id


async def _given_up(desk: "Desk", trade: "Trade") -> UUID:
    escrow_id = await desk.funded(trade)
    assert (await desk.refund(trade.seller_id, escrow_id)).status_code == 200
    return escrow_id


async def _charged_back(desk: "Desk", trade: "Trade") -> UUID:
    escrow_id = await _confirmed(desk, trade)
    await desk.work()
    account = await desk.provider.only("account")
    has = {"account": account["id"], "available": PAYOUT}
    (await desk.provider.http.put("/_sim/balance", json=has)).raise_for_status()
    await desk.provider.charge_back()
    [closed] = await desk.provider.events("charge.dispute.closed")
    assert (await desk.webhook(closed)).status_code == 200
    return escrow_id


MOVES = {
    "payout": (
        _confirmed,
        ("transfer", PAYOUT),
        [("escrow:held", -PRICE), ("stripe:balance", PAYOUT), ("platform:fees", FEE)],
        "RELEASED",
    ),
    "refund": (
        _given_up,
        ("refund", PRICE),
        [("escrow:held", -PRICE), ("stripe:balance", PRICE)],
        "REFUNDED",
    ),
    "reversal": (
        _charged_back,
        ("transfer_reversal", PAYOUT),
        [("stripe:balance", -PAYOUT), ("platform:chargeback_loss", PAYOUT)],
        "RELEASED",
    ),
}


@pytest.mark.parametrize(
    ("move", "point"),
    [*product(("payout", "reversal"), POINTS), ("refund", "str.after_call_before_save")],
)
async def test_a_killed_worker_moves_money_once(
    desk: "Desk", trade: "Trade", tmp_path: Path, move: str, point: str
) -> None:
    begin, (kind, amount), postings, status = MOVES[move]
    escrow_id = await begin(desk, trade)
    before = len(await desk.postings(escrow_id))

    async def posted() -> list[tuple[str, int]]:
        since = (await desk.postings(escrow_id))[before:]
        return [one[1:3] for one in since if one[0] in CAUSES]

    await dies_at(desk, point, tmp_path / "worker.log")
    assert await posted() == []
    made = await desk.provider.objects(kind)
    assert len(made) == (1 if point == "str.after_call_before_save" else 0)
    await recover(desk)

    assert await desk.status(escrow_id) == status
    thing = await desk.provider.only(kind)
    assert made in ([], [thing])
    assert thing["amount"] == amount
    assert await posted() == postings
    asked = f"transfers/{thing['transfer']}/reversals" if "transfer" in thing else f"{kind}s"
    assert len(set(await desk.provider.posts(f"/v1/{asked}"))) == 1
    ends = [one for one in await desk.topics(escrow_id) if one in ENDS]
    assert ends == [f"escrow.{status.lower()}"]
