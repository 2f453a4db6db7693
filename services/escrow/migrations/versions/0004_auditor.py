"""What the auditor may read."""

from alembic import op

from shared.migrations import grant_audit_v1

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    grant_audit_v1(
        op,
        escrows="*",
        intents="*",
        ledger_accounts="*",
        ledger_transactions="*",
        ledger_entries="*",
        users="id, version",
        asset_verifications="*",
    )
