"""Staff may add templates, choose the active one, and end one.

The words of a template stay protected by the trigger of the first revision.
"""

from alembic import op

from shared.migrations import execute_script

revision = "0003"
down_revision = "0002"

SCRIPT = """
ALTER TABLE contract_templates
    ADD CONSTRAINT deprecated_is_not_active CHECK (NOT (is_active AND deprecated_at IS NOT NULL));
GRANT INSERT, UPDATE ON contract_templates TO contracts_app;
"""


def upgrade() -> None:
    execute_script(op, SCRIPT)
