"""An intent has its escrow's currency; the balance of what is posted takes one look."""

from alembic import op

from shared.migrations import execute_script

revision = "0009"
down_revision = "0008"

CHECKS = """
ALTER TABLE escrows ADD UNIQUE (id, currency);
ALTER TABLE intents ADD FOREIGN KEY (escrow_id, currency) REFERENCES escrows (id, currency),
    DROP CONSTRAINT intents_escrow_id_fkey;

CREATE OR REPLACE FUNCTION check_ledger_balance() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
    changed uuid;
    is_balanced boolean;
BEGIN
    IF TG_TABLE_NAME = 'ledger_entries' THEN
        changed := NEW.transaction_id;
    ELSE
        changed := NEW.id;
    END IF;
    SELECT bool_and(total = 0) INTO is_balanced
        FROM (SELECT sum(amount) AS total FROM ledger_entries
              WHERE transaction_id = changed GROUP BY currency) AS of_currency;
    IF is_balanced THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger transaction % %', changed,
        CASE WHEN is_balanced IS NULL THEN 'has no entries' ELSE 'does not sum to zero' END
        USING ERRCODE = 'check_violation';
END $$;
"""


def upgrade() -> None:
    execute_script(op, CHECKS)
