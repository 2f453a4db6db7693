"""A wallet's signature stands beside the party's own."""

from alembic import op

from shared.migrations import execute_script

revision = "0004"
down_revision = "0003"

SCRIPT = """
ALTER TABLE users ADD COLUMN wallet_address text;
ALTER TABLE signatures
    ADD COLUMN wallet_address text CHECK (wallet_address ~ '^0x[0-9a-f]{40}$'),
    ADD COLUMN wallet_signature text CHECK (wallet_signature ~ '^0x[0-9a-f]{130}$'),
    ADD CONSTRAINT wallet_and_signature
        CHECK ((wallet_address IS NULL) = (wallet_signature IS NULL));
"""


def upgrade() -> None:
    execute_script(op, SCRIPT)
