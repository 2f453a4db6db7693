"""What must hold when all is quiet: our books are Stripe's, and nothing waits for nobody."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from shared.testing import connection

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk

OBJECTS = ("payment_intent", "transfer", "transfer_reversal", "refund", "account")
POSTED = """
SELECT t.reference, e.currency, sum(e.amount)::bigint AS amount
FROM ledger_transactions t JOIN ledger_entries e ON e.transaction_id = t.id
WHERE e.account = 'stripe:balance' GROUP BY t.reference, e.currency
"""
UNFINISHED = """
WITH parts AS (
    SELECT id, id AS escrow_id, NULL::uuid AS milestone_id, status, settling, deliver_by,
        confirmed_at, ended_at FROM escrows WHERE NOT (is_divided AND status = 'FUNDS_HELD')
    UNION ALL
    SELECT m.id, m.escrow_id, m.id, m.status, m.settling, m.deliver_by, m.confirmed_at, m.ended_at
    FROM milestone_escrows m JOIN escrows e ON e.id = m.escrow_id WHERE e.status = 'FUNDS_HELD'
)
SELECT 'intent' AS what, id::text, kind || ' ' || state AS state FROM intents
WHERE state IN ('CREATED', 'CALLING', 'IN_DOUBT') AND kind <> 'account'
    OR state = 'ACCEPTED' AND kind NOT IN ('account', 'fund')
UNION ALL
SELECT 'job', id::text, kind || ' ' || status || ': ' || coalesce(last_error, '') FROM jobs
WHERE status IN ('PROCESSING', 'FAILED')
    OR status = 'PENDING' AND kind NOT IN (
        'stripe.watch', 'stripe.await_payable', 'stripe.sweep', 'stripe.reconcile')
UNION ALL
SELECT 'hourly work', kind, count(*)::text FROM jobs
WHERE kind IN ('stripe.sweep', 'stripe.reconcile') AND status = 'PENDING'
GROUP BY kind HAVING count(*) <> 1
UNION ALL
SELECT 'settling', id::text, status || ' ' || settling FROM parts WHERE settling IS NOT NULL
UNION ALL
-- A trade that goes on: the payment, the delivery, an answer, a decision or an account is awaited.
SELECT 'nobody is awaited', p.id::text, p.status FROM parts p WHERE CASE p.status
    WHEN 'AWAIT_FUNDS' THEN NOT EXISTS (
        SELECT FROM deadlines WHERE aggregate_id = p.id AND kind = 'pay_by' AND done_at IS NULL)
    WHEN 'FUNDS_HELD' THEN p.deliver_by IS NULL
    WHEN 'DELIVERED' THEN NOT (
        EXISTS (SELECT FROM deadlines
            WHERE aggregate_id = p.id AND kind = 'release_by' AND done_at IS NULL)
        OR EXISTS (SELECT FROM jobs WHERE kind = 'stripe.await_payable'
            AND status = 'PENDING' AND payload->>'escrow_id' = p.escrow_id::text)
        OR p.confirmed_at IS NOT NULL AND EXISTS (SELECT FROM intents
            WHERE escrow_id = p.escrow_id AND kind = 'release'
                AND milestone_id IS NOT DISTINCT FROM p.milestone_id
                AND state IN ('FAILED', 'NOT_EXECUTED')))
    WHEN 'DISPUTED' THEN NOT EXISTS (
        SELECT FROM disputes WHERE escrow_id = p.escrow_id AND status IN ('OPEN', 'IN_REVIEW')
            AND milestone_id IS NOT DISTINCT FROM p.milestone_id)
    ELSE p.ended_at IS NULL END
"""
ENDS = ("escrow.released", "escrow.refunded", "escrow.cancelled")
"""An escrow that has ended says so with one of these events, once."""


async def what_is_wrong(desk: "Desk") -> list[str]:
    """Every difference and everything unfinished, in words; nothing when all is well."""
    world = (await desk.provider.http.get("/_sim/objects")).json()
    async with connection(desk.database.owner_dsn) as owner:
        unfinished = await owner.fetch(UNFINISHED)
        escrows = await owner.fetch("SELECT id::text, status, ended_at FROM escrows")
        intents = await owner.fetch("SELECT id::text, object_id FROM intents")
        postings = await owner.fetch(POSTED)
    wrong = [f"unfinished: {dict(row)}" for row in unfinished]
    announced = await desk.announced(ENDS)
    for row in escrows:
        ends = [topic for escrow_id, topic in announced if escrow_id == row["id"]]
        if ends != [f"escrow.{row['status'].lower()}"] * (row["ended_at"] is not None):
            wrong.append(f"not told once: {dict(row)}, but {ends}")
    wrong += _objects_of_intents({row["id"]: row["object_id"] for row in intents}, world)
    posted = {(row["reference"], row["currency"], row["amount"]) for row in postings}
    moved = _movements(world)
    wrong += [f"Stripe moved, we have not posted: {one}" for one in sorted(moved - posted)]
    wrong += [f"we posted, Stripe did not move: {one}" for one in sorted(posted - moved)]
    return wrong


def _objects_of_intents(known: dict[str, str | None], world: dict[str, Any]) -> list[str]:
    """Each intent that reached Stripe made one object, and we know which."""
    made = [
        (thing["metadata"]["intent_id"], thing["id"])
        for kind in OBJECTS
        for thing in world.get(kind, [])
    ]
    counts = Counter(intent_id for intent_id, _ in made)
    wrong = [f"{n} objects of intent {one}" for one, n in counts.items() if n != 1]
    accounts = {thing["id"] for thing in world.get("account", [])}
    wrong += [
        f"intent {intent_id} made {object_id}, we know of {known.get(intent_id)}"
        for intent_id, object_id in made
        # An account whose answer was lost is asked for again only when its seller comes back.
        if known.get(intent_id) != object_id and object_id not in accounts
    ]
    return wrong


def _movements(world: dict[str, Any]) -> set[tuple[str, str, int]]:
    """(object, currency, cents) of everything that must be posted to `stripe:balance`: a debit is
    money that came in.
    """
    moved = set()
    for payment in world.get("payment_intent", []):
        if payment["status"] == "succeeded":
            moved.add((payment["id"], payment["currency"].upper(), -payment["amount_received"]))
    for kind in ("transfer", "refund"):
        for thing in world.get(kind, []):
            moved.add((thing["id"], thing["currency"].upper(), thing["amount"]))
    for thing in world.get("transfer_reversal", []):
        moved.add((thing["id"], thing["currency"].upper(), -thing["amount"]))
    for transaction in world.get("balance_transaction", []):
        if transaction["fee"]:
            moved.add((transaction["id"], transaction["currency"].upper(), transaction["fee"]))
    for dispute in world.get("dispute", []):
        if dispute["status"] == "lost" and dispute["amount"]:
            moved.add((dispute["id"], dispute["currency"].upper(), dispute["amount"]))
    return moved
