"""The database itself keeps the ledger balanced and unchanged."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from shared.testing import connection

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

    from shared.testing import Database

TRANSACTION = (
    "INSERT INTO ledger_transactions (id, business_key, cause, reference)"
    " VALUES ($1, $2, 'funded', 'pi_1')"
)
ENTRY = (
    "INSERT INTO ledger_entries (id, transaction_id, account, currency, amount)"
    " VALUES (gen_random_uuid(), $1, $2, $3, $4)"
)


async def write(database: "Database", *entries: tuple[str, str, Any]) -> None:
    """One transaction with these entries, as the service's own login."""
    transaction_id = uuid4()
    async with connection(database.app_dsn) as app, app.transaction():
        await app.execute(TRANSACTION, transaction_id, str(transaction_id))
        for entry in entries:
            await app.execute(ENTRY, transaction_id, *entry)


async def counts(database: "Database") -> tuple[int, int]:
    row = await database.one(
        "SELECT (SELECT count(*) FROM ledger_transactions) AS transactions,"
        " (SELECT count(*) FROM ledger_entries) AS entries"
    )
    return row["transactions"], row["entries"]


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (("stripe:balance", "USD", -100),),
        (("stripe:balance", "USD", -100), ("escrow:held", "USD", 99)),
        (("stripe:balance", "USD", -100), ("escrow:held", "EUR", 100)),
    ],
    ids=["none", "one", "a cent", "currencies"],
)
async def test_what_does_not_sum_to_zero_is_refused_at_commit(
    database: "Database", entries: tuple[tuple[str, str, int], ...]
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await write(database, *entries)
    assert await counts(database) == (0, 0)


async def test_an_entry_added_later_must_balance_too(database: "Database") -> None:
    await write(database, ("stripe:balance", "USD", -100), ("escrow:held", "USD", 100))
    known = (await database.one("SELECT id FROM ledger_transactions"))["id"]
    async with connection(database.app_dsn) as app:
        with pytest.raises(asyncpg.CheckViolationError):
            await app.execute(ENTRY, known, "escrow:held", "USD", 1)
    assert await counts(database) == (1, 2)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (("somebody:else", "USD", 100), asyncpg.ForeignKeyViolationError),
        (("escrow:held", "USD", 0), asyncpg.CheckViolationError),
        (("escrow:held", "dollars", 1), asyncpg.CheckViolationError),
        (("escrow:held", "USD", "1"), asyncpg.DataError),
        (("escrow:held", "USD", 2**63), asyncpg.DataError),
    ],
    ids=["account", "zero", "currency", "text", "too large"],
)
async def test_an_entry_that_says_nonsense_is_refused(
    database: "Database", entry: tuple[str, str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await write(database, entry, ("stripe:balance", "USD", -1))
    assert await counts(database) == (0, 0)


@pytest.mark.parametrize("table", ["ledger_transactions", "ledger_entries", "webhook_events"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_the_service_can_only_add(database: "Database", table: str, change: str) -> None:
    column = "type = ''" if table == "webhook_events" else "id = gen_random_uuid()"
    async with connection(database.app_dsn) as app:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(change.format(table, column))


async def test_even_the_owner_changes_no_posting(database: "Database") -> None:
    await write(database, ("stripe:balance", "USD", -100), ("escrow:held", "USD", 100))
    for statement in (
        "UPDATE ledger_entries SET amount = amount * 2",
        "DELETE FROM ledger_entries",
        "UPDATE ledger_transactions SET reference = 'pi_2'",
        "DELETE FROM ledger_transactions",
    ):
        async with connection(database.owner_dsn) as owner:
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await owner.execute(statement)
    assert await counts(database) == (1, 2)


async def test_the_same_movement_is_posted_once(database: "Database") -> None:
    both = (("stripe:balance", "USD", -100), ("escrow:held", "USD", 100))
    async with connection(database.app_dsn) as app:
        for attempt in range(2):
            transaction_id = uuid4()
            work = app.transaction()
            await work.start()
            if attempt:
                with pytest.raises(asyncpg.UniqueViolationError):
                    await app.execute(TRANSACTION, transaction_id, "funded:pi_1")
                await work.rollback()
                continue
            await app.execute(TRANSACTION, transaction_id, "funded:pi_1")
            for entry in both:
                await app.execute(ENTRY, transaction_id, *entry)
            await work.commit()
    assert await counts(database) == (1, 2)


async def test_both_sides_see_a_ledger_that_sums_to_zero(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.funded(trade)
    path = f"/v1/escrows/{escrow_id}/ledger"
    for user_id in (trade.seller_id, trade.buyer_id):
        answer = (await desk.get(user_id, path)).json()
        assert answer["sums"] == {"USD": 0}
        assert [(e["cause"], e["account"], e["amount"]) for e in answer["entries"]] == [
            ("funded", "stripe:balance", -450_000),
            ("funded", "escrow:held", 450_000),
            ("provider_fee", "platform:provider_fees", -13_080),
            ("provider_fee", "stripe:balance", 13_080),
        ]
    assert (await desk.get(uuid4(), path, roles=["moderator"])).status_code == 200
    assert (await desk.get(uuid4(), path)).status_code == 404


async def test_the_escrow_row_refuses_money_that_cannot_be(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    async with connection(desk.database.app_dsn) as app:
        for change in (
            "amount = 0",
            "amount = -1",
            "amount = 1000001",
            "currency = 'USDC'",
            "fee = 450000",
            "fee = -1",
            "status = 'RELEASED'",
            "buyer_id = seller_id",
        ):
            with pytest.raises(asyncpg.CheckViolationError):
                await app.execute(f"UPDATE escrows SET {change} WHERE id = $1", escrow_id)


async def test_an_intent_has_the_currency_of_its_escrow(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.open(trade)
    intent = (
        "INSERT INTO intents (id, kind, business_key, escrow_id, amount, currency, params, state,"
        " created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'fund', $2, $1, 100, $2, '{}', 'CREATED', clock(), clock())"
    )
    async with connection(desk.database.app_dsn) as app:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await app.execute(intent, escrow_id, "USDC")
        await app.execute(intent, escrow_id, "USD")
    made = await desk.database.rows(
        "SELECT currency FROM intents WHERE business_key IN ('USD', 'USDC')"
    )
    assert made == [{"currency": "USD"}]
