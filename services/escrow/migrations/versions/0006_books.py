"""Reversals, Stripe's own books beside ours, and the hourly jobs that compare them."""

from alembic import op

from shared.migrations import execute_script, grant_append_only, grant_dml

revision = "0006"
down_revision = "0005"

TABLES = """
ALTER TABLE intents
    DROP CONSTRAINT intents_kind_check,
    ADD CONSTRAINT intents_kind_check
        CHECK (kind IN ('fund', 'release', 'refund', 'return', 'reverse', 'account'));
CREATE INDEX ON ledger_entries (account, id);

CREATE TABLE balance_transactions (
    id text PRIMARY KEY,
    type text NOT NULL,
    reference text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3,4}$'),
    amount bigint NOT NULL,
    fee bigint NOT NULL,
    created timestamptz NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON balance_transactions (reference);
CREATE INDEX ON balance_transactions (created);
CREATE TRIGGER balance_transactions_append_only BEFORE UPDATE OR DELETE ON balance_transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE differences (
    id uuid PRIMARY KEY,
    reference text NOT NULL,
    currency text NOT NULL,
    at_stripe bigint NOT NULL,
    in_ledger bigint NOT NULL,
    closed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX differences_one_open ON differences (reference, currency)
    WHERE closed_at IS NULL;

INSERT INTO deadlines (aggregate_id, kind, due_at)
SELECT id, 'held_long', funded_at + interval '60 days' FROM escrows
WHERE status IN ('FUNDS_HELD', 'DELIVERED', 'DISPUTED');

INSERT INTO jobs (id, job_key, kind, payload, headers, max_attempts) VALUES
    (gen_random_uuid(), 'stripe.sweep:first', 'stripe.sweep', '{}', '{}', 2147483647),
    (gen_random_uuid(), 'stripe.reconcile:first', 'stripe.reconcile', '{}', '{}', 2147483647);
GRANT SELECT ON balance_transactions, differences TO auditor;
GRANT SELECT (provider, event_id, type, object_id, created, received_at)
    ON webhook_events TO auditor;
GRANT SELECT (id, escrow_id, kind, reason, lifted_at) ON holds TO auditor;
"""


def upgrade() -> None:
    execute_script(op, TABLES)
    grant_dml(op, "escrow", "differences")
    grant_append_only(op, "escrow", "balance_transactions")
