"""Milestones: the parts of a trade that are delivered, disputed and settled one by one."""

from alembic import op

from shared.migrations import execute_script, grant_dml

revision = "0008"
down_revision = "0007"

TABLES = """
ALTER TABLE escrows ADD COLUMN is_divided boolean NOT NULL DEFAULT false;

CREATE TABLE milestone_plans (
    escrow_id uuid PRIMARY KEY REFERENCES escrows,
    version bigint NOT NULL,
    proposed_by uuid NOT NULL,
    milestones jsonb NOT NULL,
    agreed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE milestone_escrows (
    id uuid PRIMARY KEY,
    escrow_id uuid NOT NULL REFERENCES escrows,
    position bigint NOT NULL CHECK (position BETWEEN 1 AND 20),
    title text NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 50),
    fee bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('AWAIT_FUNDS', 'FUNDS_HELD', 'DELIVERED', 'RELEASED',
                                           'DISPUTED', 'REFUNDED', 'CANCELLED')),
    settling text CHECK (settling IN ('RELEASE', 'REFUND', 'SPLIT')),
    reason text,
    delivered_at timestamptz,
    confirmed_at timestamptz,
    deliver_by timestamptz,
    release_by timestamptz,
    payout_due_at timestamptz,
    to_buyer bigint CHECK (to_buyer > 0 AND to_buyer < amount),
    ended_at timestamptz,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (escrow_id, position),
    UNIQUE (id, escrow_id),
    CHECK (fee >= 0 AND fee < amount),
    CHECK ((ended_at IS NOT NULL) = (status IN ('RELEASED', 'REFUNDED', 'CANCELLED'))),
    CHECK (settling IS NULL OR ended_at IS NULL)
);

CREATE FUNCTION check_milestones() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
    changed uuid := coalesce(NEW.escrow_id, OLD.escrow_id);
BEGIN
    IF EXISTS (SELECT FROM escrows e WHERE e.id = changed AND (NOT e.is_divided OR
               (SELECT row(sum(m.amount), sum(m.fee)) FROM milestone_escrows m
                WHERE m.escrow_id = e.id) IS DISTINCT FROM row(e.amount::numeric, e.fee::numeric)))
    THEN
        RAISE EXCEPTION 'the milestones of escrow % are not its amount and fee', changed
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER milestone_escrows_sum
    AFTER INSERT OR DELETE OR UPDATE OF escrow_id, amount, fee ON milestone_escrows
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_milestones();

ALTER TABLE intents ADD COLUMN milestone_id uuid,
    ADD FOREIGN KEY (milestone_id, escrow_id) REFERENCES milestone_escrows (id, escrow_id),
    ADD CHECK (milestone_id IS NULL OR kind IN ('release', 'refund'));
ALTER TABLE deliveries ADD COLUMN milestone_id uuid,
    ADD FOREIGN KEY (milestone_id, escrow_id) REFERENCES milestone_escrows (id, escrow_id);
ALTER TABLE disputes ADD COLUMN milestone_id uuid,
    ADD FOREIGN KEY (milestone_id, escrow_id) REFERENCES milestone_escrows (id, escrow_id);
DROP INDEX disputes_one_at_a_time;
CREATE UNIQUE INDEX disputes_one_at_a_time ON disputes (escrow_id, milestone_id)
    NULLS NOT DISTINCT WHERE status IN ('OPEN', 'IN_REVIEW');
GRANT SELECT ON milestone_escrows TO auditor;
"""


def upgrade() -> None:
    execute_script(op, TABLES)
    grant_dml(op, "escrow", "milestone_plans", "milestone_escrows")
