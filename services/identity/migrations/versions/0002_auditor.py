"""What the auditor may read."""

from alembic import op

from shared.migrations import grant_audit_v1

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    grant_audit_v1(
        op,
        users="id, version, updated_at",
        asset_verifications="user_id, game_id, version, updated_at",
    )
