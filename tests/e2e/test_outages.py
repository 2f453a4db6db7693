"""A part of the stack goes away in mid-trade: nothing is lost and all recovers by itself."""

import asyncio
from functools import partial

import httpx

from bloxtr8.trade import Trade
from bloxtr8.trader import until
from shared.testing import Stack

SERVICES = ("identity", "listings", "contracts", "escrow")
KAFKA_OUTAGE_SECONDS = 20


async def health(stack: Stack, process: str, kind: str) -> int:
    port = stack.env(process)[f"{process.partition('.')[0].upper()}_OPS_PORT"]
    async with httpx.AsyncClient(timeout=10) as ops:
        return (await ops.get(f"http://127.0.0.1:{port}/health/{kind}")).status_code


async def test_kafka_is_down_for_twenty_seconds(stack: Stack, trade: Trade) -> None:
    await trade.go(trade.agreement[:5])
    stack.stop("kafka")
    try:
        await trade.accept()
        assert trade.offer["status"] == "ACCEPTED"
        for service in SERVICES:
            assert await health(stack, f"{service}.api", "ready") == 200
        await until(
            lambda: health(stack, "listings.worker", "ready"),
            lambda status: status == 503,
            "readiness of a worker without its broker",
        )
        assert await health(stack, "listings.worker", "live") == 200
        await asyncio.sleep(KAFKA_OUTAGE_SECONDS)  # the outage itself, not a wait for an effect
    finally:
        stack.start("kafka")
    await trade.go(trade.execution, trade.settlement)


async def test_postgresql_is_restarted(stack: Stack, trade: Trade) -> None:
    await trade.go(trade.agreement, trade.execution[:1])
    stack.stop("postgres")
    try:
        for service in SERVICES:
            for process in (f"{service}.api", f"{service}.worker"):
                await until(
                    partial(health, stack, process, "ready"),
                    lambda status: status == 503,
                    f"readiness of {process} without its database",
                )
                assert await health(stack, process, "live") == 200
        answer = await trade.buyer.request("GET", f"/v1/contracts/{trade.contract['id']}")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
    finally:
        stack.start("postgres")
    for service in SERVICES:
        for process in (f"{service}.api", f"{service}.worker"):
            await until(
                partial(health, stack, process, "ready"),
                lambda status: status == 200,
                f"recovery of {process}",
            )
    await trade.go(trade.execution[1:], trade.settlement)
