"""`bloxtr8 verify` holds after all that the stories before have done, and finds every violation.

This file is the last one on purpose: crashes, outages and races of the whole run lie behind it.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from bloxtr8.trade import Trade
from bloxtr8.verification import Invariant, invariants
from bloxtr8.verification_deep import Kept, disordered
from shared.testing import Stack, connection

OURS = UUID("01a00000-0000-7000-8000-000000000000")

PLANTED = {
    "I01-one-exec": "INSERT INTO contracts.outbox"
    " (event_id, aggregate_id, sequence, topic, key, payload, headers, published_at)"
    " SELECT gen_random_uuid(), aggregate_id, sequence + 1000, topic, key, payload, headers, now()"
    " FROM contracts.outbox WHERE topic = 'contract.executed' LIMIT 1",
    "I02-exec-complete": "DELETE FROM contracts.signatures WHERE contract_id ="
    " (SELECT id FROM contracts.contracts WHERE status = 'EXECUTED' LIMIT 1)",
    "I03-accept-one": "UPDATE listings.offers SET closed_at = NULL WHERE id ="
    " (SELECT id FROM listings.offers WHERE closed_at IS NOT NULL LIMIT 1)",
    "I04-sum-zero": "UPDATE escrow.ledger_entries SET amount = amount + 1 WHERE id ="
    " (SELECT id FROM escrow.ledger_entries LIMIT 1)",
    "I05-conserve": "UPDATE escrow.ledger_entries SET amount = amount + 1 WHERE id ="
    " (SELECT id FROM escrow.ledger_entries WHERE account = 'escrow:held' LIMIT 1)",
    "I06-release-xor": "UPDATE escrow.intents SET received = 1 WHERE id ="
    " (SELECT source_id FROM escrow.intents WHERE state = 'SETTLED' AND kind = 'release' LIMIT 1)",
    "I07-no-negative": "UPDATE escrow.ledger_transactions"
    " SET posted_at = posted_at - interval '9 d' WHERE id ="
    " (SELECT id FROM escrow.ledger_transactions WHERE cause = 'released' LIMIT 1)",
    "I08-immutable": "GRANT UPDATE ON escrow.ledger_entries TO escrow_app",
    "I10-intent-effect": "UPDATE escrow.intents SET amount = amount - 1 WHERE id ="
    " (SELECT id FROM escrow.intents WHERE state = 'SETTLED' AND kind = 'release' LIMIT 1)",
    "I13-outbox-atomic": "UPDATE listings.outbox_sequences SET last = last + 1 WHERE aggregate_id ="
    " (SELECT aggregate_id FROM listings.outbox LIMIT 1)",
    "I14-outbox-drained": "UPDATE listings.outbox SET published_at = NULL,"
    " created_at = created_at - interval '9 d' WHERE id = (SELECT max(id) FROM listings.outbox)",
    "I18-projection": "UPDATE escrow.users SET version = version + 1 WHERE id ="
    " (SELECT id FROM escrow.users LIMIT 1)",
    "I19-legal-transition": "INSERT INTO escrow.audit_logs"
    " (id, action, subject_type, subject_id, details) VALUES (gen_random_uuid(), 'escrow.funded',"
    ' \'escrow\', \'planted\', \'{"from": "RELEASED", "to": "FUNDS_HELD"}\')',
    "I20-deadline": "INSERT INTO escrow.deadlines (aggregate_id, kind, due_at)"
    " VALUES (gen_random_uuid(), 'pay_by', now() - interval '1 hour')",
    "I23-lease-fence": "UPDATE contracts.contract_execution_jobs SET status = 'PENDING'"
    " WHERE id = (SELECT id FROM contracts.contract_execution_jobs"
    " WHERE status = 'COMPLETED' LIMIT 1)",
    "I24-no-stuck": "UPDATE escrow.intents SET state = 'IN_DOUBT',"
    " first_called_at = now() - interval '1 hour' WHERE id ="
    " (SELECT id FROM escrow.intents WHERE kind = 'release' AND idem_key IS NOT NULL LIMIT 1)",
    "I25-webhook-once": "INSERT INTO escrow.webhook_events"
    " (provider, event_id, type, object_id, created, payload)"
    " VALUES ('stripe', 'evt_planted', 'payment_intent.succeeded', 'pi_1', now(), '{}')",
    "I26-external-recon": "INSERT INTO escrow.differences"
    " (id, reference, currency, at_stripe, in_ledger, created_at, updated_at)"
    " VALUES (gen_random_uuid(), 'pi_1', 'USD', 1, 0, now() - interval '3 hours', now())",
    "terms-stand": "UPDATE escrow.escrows SET fee = fee + 1 WHERE id ="
    " (SELECT id FROM escrow.escrows LIMIT 1)",
}


def verify(stack: Stack, *options: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The command's exit code, and what breaks each invariant that is broken."""
    done = stack.run("verify", "--json", *options)
    findings = json.loads(done.stdout)["invariants"]
    return done.returncode, {
        finding["name"]: finding["broken_by"] for finding in findings if finding["broken_by"]
    }


def without_what_tests_wrote(
    broken: dict[str, list[dict[str, Any]]],
) -> dict[str, list[dict[str, Any]]]:
    """Without the forged events of other stories, which `--deep` rightly finds: their ids are not
    of the version that services give.
    """
    return {
        name: rows
        for name, found in broken.items()
        if (rows := [row for row in found if UUID(row.get("event_id", str(OURS))).version == 7])
    }


@pytest.fixture
async def traded(trade: Trade) -> Trade:
    await trade.go(trade.agreement, trade.execution, trade.settlement[:-1])
    return trade


@pytest.fixture
async def superuser(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    async with connection(stack.superuser_dsn()) as role:
        # Triggers and foreign keys would refuse what is planted.
        await role.execute("SET session_replication_role = replica")
        yield role


async def test_after_all_stories_and_the_demo_every_invariant_holds(stack: Stack) -> None:
    await asyncio.to_thread(stack.command, "demo")
    assert await asyncio.to_thread(verify, stack) == (0, {})
    _, broken = await asyncio.to_thread(verify, stack, "--deep")
    assert without_what_tests_wrote(broken) == {}


async def test_every_planted_violation_is_found(
    stack: Stack, traded: Trade, superuser: asyncpg.Connection
) -> None:
    assert traded.escrow["id"]
    found: dict[str, int] = {}
    for invariant in invariants():
        planted = superuser.transaction()
        await planted.start()
        changed = await superuser.execute(PLANTED[invariant.name])
        assert changed == "GRANT" or changed.endswith((" 1", " 2")), invariant
        await superuser.execute("SET LOCAL ROLE auditor")
        finding = await invariant.check(superuser)
        found[invariant.name] = len(finding.broken_by)
        await planted.rollback()
    assert [name for name, rows in found.items() if rows == 0] == []
    assert set(PLANTED) == set(found)


@contextlib.asynccontextmanager
async def planted(superuser: asyncpg.Connection, change: str, undo: str) -> AsyncIterator[None]:
    await superuser.execute(change)
    try:
        yield
    finally:
        await superuser.execute(undo)


async def test_the_command_shows_the_rows_and_fails(
    stack: Stack, traded: Trade, superuser: asyncpg.Connection
) -> None:
    where = f"WHERE id = '{traded.escrow['id']}'"
    change = f"UPDATE escrow.escrows SET fee = fee {{}} 1 {where}"
    async with planted(superuser, change.format("+"), change.format("-")):
        code, broken = await asyncio.to_thread(verify, stack)
        shown = await asyncio.to_thread(stack.run, "verify")
    assert code == 1
    [row] = broken["terms-stand"]
    assert (row["escrow_id"], row["fee"], row["fee_agreed"]) == (
        traded.escrow["id"],
        11251,
        "11250",
    )
    assert shown.returncode == 1
    assert f"escrow_id={traded.escrow['id']}" in shown.stdout
    assert "1 broken." in shown.stdout


async def test_deep_finds_another_document_and_a_lost_or_strange_event(
    stack: Stack, traded: Trade, superuser: asyncpg.Connection
) -> None:
    contract = traded.contract["id"]
    real = await superuser.fetchval(
        "SELECT sealed_sha256 FROM contracts.contracts WHERE id = $1", contract
    )
    event = await superuser.fetchrow(
        "SELECT event_id::text, id FROM listings.outbox WHERE topic = 'offer.accepted'"
        " ORDER BY id DESC LIMIT 1"
    )
    assert event is not None
    other = str(OURS)
    change = "UPDATE contracts.contracts SET sealed_sha256 = '{}'" + f" WHERE id = '{contract}'"
    swap = "UPDATE listings.outbox SET event_id = '{}'" + f" WHERE id = {event['id']}"
    async with (
        planted(superuser, change.format("0" * 64), change.format(real)),
        planted(superuser, swap.format(other), swap.format(event["event_id"])),
    ):
        code, broken = await asyncio.to_thread(verify, stack, "--deep")
    assert code == 1
    assert without_what_tests_wrote(broken) == {
        "I15-topic-complete": [
            {"event_id": other, "topic": "offer.accepted", "missing": "in the topic"},
            {"event_id": event["event_id"], "topic": "offer.accepted", "missing": "in the outbox"},
        ],
        "I21-doc-hash": [{"contract_id": contract, "document": "sealed", "found": real}],
    }


def test_only_the_first_occurrence_of_an_event_has_to_be_in_order() -> None:
    first, second = (Kept("escrow.funded", f"event {n}", "escrow", n) for n in (1, 2))
    assert disordered([first, second, first, second]) == []
    assert disordered([second, first]) == [
        {
            "event_id": "event 1",
            "topic": "escrow.funded",
            "aggregate_id": "escrow",
            "sequences": "[2, 1]",
        }
    ]


def test_every_invariant_says_what_it_means() -> None:
    assert all(isinstance(one, Invariant) and one.statement.endswith(".") for one in invariants())
