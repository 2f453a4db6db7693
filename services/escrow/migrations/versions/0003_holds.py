"""Holds: reasons for which nobody but staff may move an escrow's money."""

from alembic import op

from shared.migrations import execute_script, grant_dml

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE holds (
    id uuid PRIMARY KEY,
    escrow_id uuid NOT NULL REFERENCES escrows,
    kind text NOT NULL CHECK (kind IN ('CHARGEBACK', 'SANCTION', 'STAFF')),
    reason text NOT NULL,
    placed_by uuid,
    lifted_by uuid,
    lifted_reason text,
    lifted_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((lifted_at IS NULL) = (lifted_reason IS NULL))
);
CREATE INDEX ON holds (escrow_id) WHERE lifted_at IS NULL;
"""


def upgrade() -> None:
    execute_script(op, TABLES)
    grant_dml(op, "escrow", "holds")
