"""Files that the sides bring as evidence: taken in, cleaned, then attached for good."""

from alembic import op

from shared.migrations import execute_script, grant_dml

revision = "0007"
down_revision = "0006"

TABLES = """
CREATE TABLE evidence_files (
    id uuid PRIMARY KEY,
    escrow_id uuid NOT NULL REFERENCES escrows,
    uploader_id uuid NOT NULL,
    file_name text NOT NULL,
    content_type text NOT NULL CHECK (content_type IN
        ('image/png', 'image/jpeg', 'image/webp', 'application/pdf', 'text/plain')),
    size bigint NOT NULL CHECK (size BETWEEN 1 AND 10485760),
    status text NOT NULL
        CHECK (status IN ('PENDING', 'CHECKING', 'READY', 'REFUSED', 'EXPIRED')),
    reason text,
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    delivery_id uuid REFERENCES deliveries,
    dispute_id uuid REFERENCES disputes,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (status <> 'READY' OR sha256 IS NOT NULL),
    CHECK (status <> 'REFUSED' OR reason IS NOT NULL),
    CHECK (num_nonnulls(delivery_id, dispute_id) <= 1),
    CHECK (num_nonnulls(delivery_id, dispute_id) = 0 OR status = 'READY')
);
CREATE INDEX ON evidence_files (escrow_id);
CREATE INDEX ON evidence_files (delivery_id) WHERE delivery_id IS NOT NULL;
CREATE INDEX ON evidence_files (dispute_id) WHERE dispute_id IS NOT NULL;
CREATE TRIGGER evidence_files_attached BEFORE UPDATE OR DELETE ON evidence_files
    FOR EACH ROW WHEN (num_nonnulls(OLD.delivery_id, OLD.dispute_id) > 0)
    EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    execute_script(op, TABLES)
    grant_dml(op, "escrow", "evidence_files")
