"""Staff find all that a bank may ask about a trade on one page, with the sealed contract itself."""

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import httpx

from escrow.use_cases import silence
from shared.events.identity import AssetTransferObserved

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

    from shared.testing import Stack

STAFF: dict[str, Any] = {"roles": ["moderator"]}
PDF = b"%PDF-1.7 sealed"


async def test_the_package_holds_contract_delivery_and_timeline(
    desk: "Desk", trade: "Trade", postgres_server: "Stack"
) -> None:
    key = f"sealed/{uuid4()}.pdf"
    s3 = boto3.client("s3", **postgres_server.s3("contracts"))
    stored = s3.put_object(Bucket="contracts", Key=key, Body=PDF)
    s3.put_object(Bucket="contracts", Key=key, Body=b"another")
    escrow_id = await desk.delivered(trade)
    async with desk.database.sessions.begin() as session:
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
        await silence.note_transfer(session, seen)
    digest = hashlib.sha256(PDF).hexdigest()
    sealed = {"bucket": "contracts", "key": key, "version_id": stored["VersionId"]}
    await desk.database.rows(
        "UPDATE escrows SET sealed_document = $1", json.dumps(sealed | {"sha256": digest})
    )
    charge = await desk.provider.only("charge")
    await desk.provider.http.post("/_sim/disputes", json={"charge": charge["id"]})
    [event] = await desk.provider.events("charge.dispute.created")
    await desk.webhook(event)
    await desk.work()

    path = f"/v1/escrows/{escrow_id}/evidence-package"
    package = (await desk.get(uuid4(), path, **STAFF)).json()
    async with httpx.AsyncClient() as browser:
        document = await browser.get(package["contract"]["url"])
    assert (document.status_code, document.content) == (200, PDF)
    assert package["contract"]["sha256"] == digest
    assert package["game"]["game_name"] == "Skyline Tycoon"
    assert package["delivery_proof"]["creator_id"] == "2002"
    case = package["case"]
    assert [one["title"] for one in case["escrow"]["deliveries"]] == ["Game transferred"]
    assert [hold["kind"] for hold in case["holds"]] == ["CHARGEBACK"]
    assert [change["action"] for change in case["history"]][-4:] == [
        "escrow.funds_held",
        "escrow.delivered",
        "escrow.transfer_observed",
        "escrow.held",
    ]
    for caller in (trade.seller_id, trade.buyer_id, uuid4()):
        assert (await desk.get(caller, path)).status_code == 403
