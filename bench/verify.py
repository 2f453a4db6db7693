"""How long `bloxtr8 verify` takes on 10,000 trades.

One trade is carried through the gateway; then all its rows are copied under new ids.
`verify_seconds`: the median of whole runs of the command, with the start of its interpreter.
`trade_ratio`: the same over a run on the one trade.
"""

import asyncio
import statistics
import sys
import time

import asyncpg

from bloxtr8.trade import Trade
from bloxtr8.trader import Trader
from shared.testing import Stack

TRADES = 10_000
TURNS = 3

_UUID = "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4})[0-9a-f]{8}"
_STRIPE = '"((?:[a-z_]+:)?(?:acct|ch|evt|pi|re|tr|txn)_[0-9A-Za-z]+)"'
_UNREAD = """ '{"email": null, "payload": {}, "headers": {}}' """
"""Columns that no invariant reads and that make rows long, or that are unique."""
_TABLES = """
SELECT format('%I.%I', table_schema, table_name) AS place,
    string_agg(quote_ident(column_name), ', ') AS columns,
    string_agg('copy.' || quote_ident(column_name), ', ') AS copied
FROM information_schema.columns
WHERE (table_schema, table_name) IN (
    SELECT table_schema, table_name FROM information_schema.column_privileges
    WHERE grantee = 'auditor')
    AND table_name <> 'ledger_accounts' AND is_identity = 'NO'
GROUP BY 1
"""
_COPY = """
INSERT INTO {place} ({columns})
SELECT {copied} FROM {place} one, generate_series(1, {copies}) n,
    jsonb_populate_record(NULL::{place}, regexp_replace(regexp_replace(
        (to_jsonb(one) || {unread})::text, '{uuid}', '\\1' || lpad(to_hex(n), 8, '0'), 'g'),
        '{stripe}', '"\\1' || n || '"', 'g')::jsonb) copy
WHERE coalesce(to_jsonb(one)->>'kind', '') NOT IN ('stripe.sweep', 'stripe.reconcile')
"""
"""All rows but the hourly work, of which there is one for all trades."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def carry_one(stack: Stack) -> None:
    async with (
        Trader(stack.gateway_url, "sasha", "sasha_builds") as seller,
        Trader(stack.gateway_url, "blair", "blair_plays") as buyer,
    ):
        trade = Trade(seller, buyer, stack.simulators_url)
        await trade.go(trade.agreement, trade.execution, trade.settlement[:-1])


async def multiply(dsn: str) -> None:
    superuser = await asyncpg.connect(dsn)
    await superuser.execute("SET session_replication_role = replica")
    for table in await superuser.fetch(_TABLES):
        say(f"copying {table['place']} …")
        await superuser.execute(
            _COPY.format(
                unread=_UNREAD, uuid=_UUID, stripe=_STRIPE, copies=TRADES - 1, **dict(table)
            )
        )
    await superuser.execute("ANALYZE")
    await superuser.close()


def verify(stack: Stack) -> float:
    """Seconds of one run, which must find everything in order."""
    started = time.perf_counter()
    stack.command("verify")
    return time.perf_counter() - started


def main() -> None:
    with Stack.started() as stack:
        say("starting the stack …")
        stack.start("infrastructure", "services", "gateway")
        say("carrying one trade …")
        asyncio.run(carry_one(stack))
        one = statistics.median(verify(stack) for _ in range(TURNS))
        asyncio.run(multiply(stack.superuser_dsn()))
        many = statistics.median(verify(stack) for _ in range(TURNS))
        print(f"trades={TRADES} verify_seconds={many:.2f} trade_ratio={many / one:.2f}")


if __name__ == "__main__":
    main()
