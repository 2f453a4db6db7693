"""Escrows, intents, webhooks, payout accounts, projections and the ledger."""

from alembic import op

from shared.migrations import (
    create_infrastructure_v1,
    execute_script,
    grant_append_only,
    grant_dml,
)

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE escrows (
    id uuid PRIMARY KEY,
    rail text NOT NULL CHECK (rail IN ('STRIPE', 'USDC_BASE')),
    amount bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000),
    currency text NOT NULL CHECK (currency IN ('USD', 'USDC')),
    fee bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('AWAIT_FUNDS', 'FUNDS_HELD', 'DELIVERED', 'RELEASED',
                                           'DISPUTED', 'REFUNDED', 'CANCELLED')),
    settling text CHECK (settling IN ('CANCEL', 'RELEASE', 'REFUND')),
    reason text,
    offer_id uuid NOT NULL,
    root_offer_id uuid NOT NULL,
    contract_id uuid NOT NULL UNIQUE,
    listing_id uuid NOT NULL,
    game_id text NOT NULL,
    seller_id uuid NOT NULL,
    buyer_id uuid NOT NULL,
    deal jsonb NOT NULL,
    sealed_document jsonb NOT NULL,
    pay_by timestamptz NOT NULL,
    funded_at timestamptz,
    delivered_at timestamptz,
    confirmed_at timestamptz,
    ended_at timestamptz,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (fee >= 0 AND fee < amount),
    CHECK (buyer_id <> seller_id),
    CHECK ((rail = 'STRIPE' AND currency = 'USD' AND amount <= 1000000)
        OR (rail = 'USDC_BASE' AND currency = 'USDC')),
    CHECK ((ended_at IS NOT NULL) = (status IN ('RELEASED', 'REFUNDED', 'CANCELLED'))),
    CHECK (settling IS NULL OR ended_at IS NULL)
);
CREATE INDEX ON escrows (offer_id);
CREATE INDEX ON escrows (status);
CREATE INDEX ON escrows (rail);
CREATE INDEX ON escrows (buyer_id, id);
CREATE INDEX ON escrows (seller_id, id);

CREATE TABLE intents (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('fund', 'release', 'refund', 'return', 'account')),
    business_key text NOT NULL UNIQUE,
    escrow_id uuid REFERENCES escrows,
    user_id uuid,
    source_id uuid REFERENCES intents,
    amount bigint CHECK (amount > 0),
    currency text,
    params jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('CREATED', 'CALLING', 'IN_DOUBT', 'ACCEPTED', 'SETTLED',
                                         'FAILED', 'NOT_EXECUTED')),
    idem_key text UNIQUE,
    first_called_at timestamptz,
    object_id text UNIQUE,
    provider_status text,
    received bigint,
    clean_listings bigint NOT NULL DEFAULT 0,
    last_error text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    settled_at timestamptz,
    CHECK ((escrow_id IS NULL) <> (user_id IS NULL)),
    CHECK ((escrow_id IS NULL) = (amount IS NULL) AND (amount IS NULL) = (currency IS NULL)),
    CHECK ((idem_key IS NULL) = (first_called_at IS NULL)),
    CHECK ((source_id IS NOT NULL) = (kind IN ('release', 'refund', 'return'))),
    CHECK (state NOT IN ('ACCEPTED', 'SETTLED') OR object_id IS NOT NULL)
);
CREATE INDEX ON intents (escrow_id);
CREATE INDEX ON intents (user_id);
CREATE INDEX ON intents (source_id);

CREATE TABLE stripe_escrows (
    id uuid PRIMARY KEY,
    escrow_id uuid NOT NULL UNIQUE REFERENCES escrows,
    payment_intent_id text NOT NULL UNIQUE,
    charge_id text UNIQUE,
    transfer_id text UNIQUE,
    refund_id text UNIQUE
);

CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    escrow_id uuid NOT NULL REFERENCES escrows,
    offer_id uuid NOT NULL,
    contract_id uuid NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    status text NOT NULL CHECK (status IN ('PENDING', 'DELIVERED', 'CONFIRMED', 'REJECTED')),
    delivered_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ON deliveries (escrow_id);

CREATE TABLE payout_accounts (
    user_id uuid PRIMARY KEY,
    account_id text UNIQUE,
    is_payable boolean NOT NULL DEFAULT false,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (NOT is_payable OR account_id IS NOT NULL)
);

CREATE TABLE webhook_events (
    provider text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    object_id text NOT NULL,
    created timestamptz NOT NULL,
    payload jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock(),
    PRIMARY KEY (provider, event_id)
);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    is_frozen boolean NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE asset_verifications (
    user_id uuid NOT NULL,
    game_id text NOT NULL,
    is_owner boolean NOT NULL,
    checked_at timestamptz NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (user_id, game_id)
);
"""

LEDGER = """
CREATE TABLE ledger_accounts (
    code text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('ASSET', 'LIABILITY', 'INCOME', 'EXPENSE')),
    meaning text NOT NULL
);
COMMENT ON TABLE ledger_accounts IS 'seeded';
INSERT INTO ledger_accounts (code, kind, meaning) VALUES
    ('stripe:balance', 'ASSET', 'Money on the platform''s Stripe balance'),
    ('escrow:held', 'LIABILITY', 'Money held for the two sides of one escrow'),
    ('platform:suspense', 'LIABILITY', 'Money that fits nothing; owed to whoever sent it'),
    ('platform:fees', 'INCOME', 'Fees kept from sellers'' payouts'),
    ('platform:provider_fees', 'EXPENSE', 'What payment providers charge');

CREATE TABLE ledger_transactions (
    id uuid PRIMARY KEY,
    business_key text NOT NULL UNIQUE,
    cause text NOT NULL,
    escrow_id uuid,
    reference text NOT NULL,
    posted_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON ledger_transactions (escrow_id);

-- No foreign key to ledger_accounts: its row lock would be shared by every trade's transaction.
CREATE TABLE ledger_entries (
    id uuid PRIMARY KEY,
    transaction_id uuid NOT NULL REFERENCES ledger_transactions,
    account text NOT NULL,
    escrow_id uuid,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3,4}$'),
    amount bigint NOT NULL CHECK (amount <> 0)
);
CREATE INDEX ON ledger_entries (transaction_id);
CREATE INDEX ON ledger_entries (account, escrow_id);
CREATE INDEX ON ledger_entries (escrow_id);

CREATE FUNCTION check_ledger_balance() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
    changed uuid;
BEGIN
    IF TG_TABLE_NAME = 'ledger_entries' THEN
        changed := NEW.transaction_id;
    ELSE
        changed := NEW.id;
    END IF;
    IF NOT EXISTS (SELECT FROM ledger_entries WHERE transaction_id = changed) THEN
        RAISE EXCEPTION 'ledger transaction % has no entries', changed
            USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM ledger_entries WHERE transaction_id = changed
               GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', changed
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_transactions_balance AFTER INSERT ON ledger_transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_ledger_balance();
CREATE CONSTRAINT TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_ledger_balance();

CREATE FUNCTION check_ledger_account() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger_accounts WHERE code = NEW.account) THEN
        RAISE EXCEPTION 'no ledger account %', NEW.account USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_entries_account BEFORE INSERT ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION check_ledger_account();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER webhook_events_append_only BEFORE UPDATE OR DELETE ON webhook_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    create_infrastructure_v1(op, "escrow")
    execute_script(op, TABLES)
    execute_script(op, LEDGER)
    grant_dml(
        op,
        "escrow",
        "escrows",
        "intents",
        "stripe_escrows",
        "deliveries",
        "payout_accounts",
        "users",
        "asset_verifications",
    )
    grant_append_only(op, "escrow", "webhook_events", "ledger_transactions", "ledger_entries")
    execute_script(op, "GRANT SELECT ON ledger_accounts TO escrow_app")
