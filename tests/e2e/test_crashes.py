"""A worker is killed at every point that matters; after its restart the effect is there once."""

import asyncio
import json
import signal
from pathlib import Path

import asyncpg
import boto3
import pytest

from bloxtr8.trade import Trade
from shared.testing import Stack, eventually

CONSUMING_POINTS = ["cons.after_poll", "cons.after_commit_before_offset"]
EXECUTION_POINTS = [*CONSUMING_POINTS, "seal.after_put_before_row"]
RELAY_POINTS = [
    "relay.before_send",
    "relay.mid_batch",
    "relay.after_send_before_ack",
    "relay.after_ack_before_mark",
]


async def fetch(stack: Stack, service: str, query: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(stack.owner_dsn(service))
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()


async def assert_executed_once(stack: Stack, trade: Trade) -> None:
    """One sealed object, one event on the topic and in the outbox, one escrow."""
    contract_id = trade.contract["id"]
    s3 = boto3.client("s3", **stack.s3("contracts"))
    versions = await asyncio.to_thread(
        s3.list_object_versions, Bucket="contracts", Prefix=f"contracts/{contract_id}/sealed.pdf"
    )
    assert len(versions["Versions"]) == 1
    executed = await fetch(
        stack,
        "contracts",
        "SELECT payload FROM outbox WHERE topic = 'contract.executed' AND aggregate_id = $1",
        contract_id,
    )
    assert len(executed) == 1
    sealed = json.loads(executed[0]["payload"])["sealed"]
    assert sealed["version_id"] == versions["Versions"][0]["VersionId"]
    escrows = await trade.buyer.call("GET", f"/v1/escrows?contract_id={contract_id}")
    assert len(escrows["items"]) == 1


@pytest.mark.parametrize("point", CONSUMING_POINTS)
async def test_a_creation_survives_a_kill(
    stack: Stack, trade: Trade, tmp_path: Path, point: str
) -> None:
    await trade.go(trade.agreement[:-1])
    stack.stop("contracts.worker")
    try:
        await trade.accept()
        with stack.another(
            "contracts.worker", tmp_path / "worker.log", CONTRACTS_CRASH_AT=point
        ) as doomed:
            died = await asyncio.to_thread(doomed.wait, 40)
        assert died == -signal.SIGKILL, (tmp_path / "worker.log").read_text()
    finally:
        stack.start("contracts.worker")
    await trade.draw_up()
    made = await fetch(
        stack,
        "contracts",
        "SELECT c.id, count(o.event_id) AS told FROM contracts c"
        " JOIN outbox o ON o.aggregate_id = c.id::text AND o.topic = 'contract.created'"
        " WHERE c.offer_id = $1::uuid GROUP BY 1",
        trade.offer["id"],
    )
    assert [(str(row["id"]), row["told"]) for row in made] == [(trade.contract["id"], 1)]


@pytest.mark.parametrize("point", [*EXECUTION_POINTS, *RELAY_POINTS])
async def test_an_execution_survives_a_kill(
    stack: Stack, trade: Trade, tmp_path: Path, point: str
) -> None:
    await trade.go(trade.agreement)
    await trade.draw_up()
    stack.stop("contracts.worker")
    try:
        await trade.sign()
        with stack.another(
            "contracts.worker", tmp_path / "worker.log", CONTRACTS_CRASH_AT=point
        ) as doomed:
            died = await asyncio.to_thread(doomed.wait, 40)
        assert died == -signal.SIGKILL, (tmp_path / "worker.log").read_text()
    finally:
        stack.start("contracts.worker")
    await trade.execute()
    await trade.open_escrow()
    await assert_executed_once(stack, trade)


async def test_one_signed_fact_delivered_twenty_times_to_two_workers_is_executed_once(
    stack: Stack, trade: Trade, tmp_path: Path
) -> None:
    await trade.go(trade.agreement)
    await trade.draw_up()
    with stack.another("contracts.worker", tmp_path / "second.log"):
        await trade.sign()
        [signed] = await fetch(
            stack,
            "contracts",
            "SELECT key, payload, headers FROM outbox"
            " WHERE topic = 'contract.signed' AND aggregate_id = $1",
            trade.contract["id"],
        )
        await stack.produce(
            "contracts",
            "contract.signed",
            [
                (signed["key"], signed["payload"], json.loads(signed["headers"]), n % 12)
                for n in range(20)
            ],
        )
        await trade.execute()
        await trade.open_escrow()

        async def nothing_is_left_to_read() -> None:
            assert await stack.lag("contracts") == 0

        await eventually(nothing_is_left_to_read, within_seconds=30)
    await assert_executed_once(stack, trade)
    [job] = await fetch(
        stack,
        "contracts",
        "SELECT attempts, status FROM contract_execution_jobs WHERE contract_id = $1::uuid",
        trade.contract["id"],
    )
    assert (job["attempts"], job["status"]) == (1, "COMPLETED")
