"""A posting costs the database less: accounts are looked up once a statement, tables are named with
their schema instead of a search path set and put back at each of its calls, and the index goes that
no query needs beside those on escrow and on account.
"""

from alembic import op

from shared.migrations import execute_script

revision = "0010"
down_revision = "0009"

CHECKS = """
DROP INDEX ledger_entries_account_escrow_id_idx;

DROP TRIGGER ledger_entries_account ON ledger_entries;
DROP FUNCTION check_ledger_account();

CREATE FUNCTION check_ledger_accounts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unknown text;
BEGIN
    SELECT account INTO unknown FROM added
        WHERE NOT EXISTS (SELECT FROM escrow.ledger_accounts WHERE code = account);
    IF FOUND THEN
        RAISE EXCEPTION 'no ledger account %', unknown USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_entries_account AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION check_ledger_accounts();

CREATE OR REPLACE FUNCTION check_ledger_balance() RETURNS trigger LANGUAGE plpgsql AS $$
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
        FROM (SELECT sum(amount) AS total FROM escrow.ledger_entries
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
