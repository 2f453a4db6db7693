"""What the auditor may read."""

from alembic import op

from shared.migrations import grant_audit_v1

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    grant_audit_v1(
        op,
        contracts="*",
        signatures="id, user_id, contract_id, document_sha256, signed_at",
        contract_execution_jobs="id, contract_id, status, lease_until, attempts, max_attempts",
        users="id, version",
    )
