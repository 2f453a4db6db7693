"""The account of what chargebacks cost the platform."""

from alembic import op

from shared.migrations import execute_script

revision = "0005"
down_revision = "0004"

ACCOUNT = """
INSERT INTO ledger_accounts (code, kind, meaning) VALUES
    ('platform:chargeback_loss', 'EXPENSE', 'money that banks took back after it was paid out');
"""


def upgrade() -> None:
    execute_script(op, ACCOUNT)
