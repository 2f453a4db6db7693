"""Deadlines after the funding, observed transfers, disputes and the halves of a split."""

from alembic import op

from shared.migrations import execute_script, grant_append_only, grant_dml

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE escrows
    ADD COLUMN deliver_by timestamptz,
    ADD COLUMN release_by timestamptz,
    ADD COLUMN payout_due_at timestamptz,
    ADD COLUMN to_buyer bigint,
    ADD COLUMN observed_transfer jsonb,
    ADD CHECK (to_buyer > 0 AND to_buyer < amount),
    DROP CONSTRAINT escrows_settling_check,
    ADD CONSTRAINT escrows_settling_check
        CHECK (settling IN ('CANCEL', 'RELEASE', 'REFUND', 'SPLIT'));
UPDATE escrows
SET deliver_by = funded_at + ((deal->'terms'->>'deliver_within_seconds') || ' seconds')::interval
WHERE status = 'FUNDS_HELD';
UPDATE escrows
SET release_by = delivered_at + ((deal->'terms'->>'auto_release_seconds') || ' seconds')::interval
WHERE status = 'DELIVERED';
INSERT INTO deadlines (aggregate_id, kind, due_at)
SELECT id, 'release_by', release_by FROM escrows WHERE release_by IS NOT NULL;
ALTER TABLE deliveries ADD COLUMN observed_transfer jsonb;

CREATE TABLE disputes (
    id uuid PRIMARY KEY,
    escrow_id uuid NOT NULL REFERENCES escrows,
    opened_by uuid,
    opened_from text NOT NULL CHECK (opened_from IN ('FUNDS_HELD', 'DELIVERED')),
    title text NOT NULL,
    description text NOT NULL,
    status text NOT NULL CHECK (status IN ('OPEN', 'IN_REVIEW', 'RESOLVED', 'CLOSED')),
    resolution text CHECK (resolution IN ('RELEASE', 'REFUND', 'SPLIT')),
    reason text,
    moderator_id uuid,
    buyer_withdrew_at timestamptz,
    seller_withdrew_at timestamptz,
    alerted_at timestamptz,
    resolved_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (status <> 'RESOLVED' OR resolution IS NOT NULL),
    CHECK ((resolution IS NULL) = (reason IS NULL)),
    CHECK ((resolved_at IS NOT NULL) = (status IN ('RESOLVED', 'CLOSED')))
);
CREATE INDEX ON disputes (escrow_id);
CREATE UNIQUE INDEX disputes_one_at_a_time ON disputes (escrow_id)
    WHERE status IN ('OPEN', 'IN_REVIEW');
CREATE INDEX ON disputes (status, id);

CREATE TABLE dispute_evidence (
    id uuid PRIMARY KEY,
    dispute_id uuid NOT NULL REFERENCES disputes,
    author_id uuid NOT NULL,
    statement text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON dispute_evidence (dispute_id);
CREATE TRIGGER dispute_evidence_append_only BEFORE UPDATE OR DELETE ON dispute_evidence
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    execute_script(op, TABLES)
    grant_dml(op, "escrow", "disputes")
    grant_append_only(op, "escrow", "dispute_evidence")
