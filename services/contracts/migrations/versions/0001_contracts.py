"""Contracts, signatures, links, templates and execution jobs.

Revision ID: 0001
Revises:
"""

import json
from importlib.resources import files

import sqlalchemy as sa
from alembic import op

from shared.ids import new_id
from shared.migrations import (
    create_infrastructure_v1,
    execute_script,
    grant_append_only,
    grant_dml,
)

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE contract_templates (
    id uuid PRIMARY KEY,
    version text NOT NULL UNIQUE CHECK (version ~ '^[0-9]+[.][0-9]+[.][0-9]+$'),
    name text NOT NULL,
    terms jsonb NOT NULL,
    is_active boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    deprecated_at timestamptz
);
CREATE UNIQUE INDEX contract_templates_one_active ON contract_templates (is_active)
    WHERE is_active;
COMMENT ON TABLE contract_templates IS 'seeded';

CREATE TABLE contracts (
    id uuid PRIMARY KEY,
    offer_id uuid NOT NULL UNIQUE,
    root_offer_id uuid NOT NULL,
    listing_id uuid NOT NULL,
    seller_id uuid NOT NULL,
    buyer_id uuid NOT NULL CHECK (buyer_id <> seller_id),
    status text NOT NULL CHECK (status IN
        ('PENDING_SIGNATURE', 'EXECUTING', 'EXECUTED', 'EXECUTION_FAILED', 'VOID')),
    version bigint NOT NULL,
    deal jsonb NOT NULL,
    roblox_asset_data jsonb NOT NULL,
    template_version text NOT NULL REFERENCES contract_templates (version),
    pdf_url text,
    pdf_version_id text,
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    sign_by timestamptz NOT NULL,
    signed_at timestamptz,
    sealed_key text,
    sealed_version_id text,
    sealed_sha256 text CHECK (sealed_sha256 ~ '^[0-9a-f]{64}$'),
    executed_at timestamptz,
    void_reason text CHECK (void_reason IN ('UNSIGNED', 'DECLINED', 'STAFF', 'NOT_CREATED')),
    note text,
    failure text,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    UNIQUE (id, sha256),
    CONSTRAINT document_exists CHECK (
        (pdf_url IS NULL) = (sha256 IS NULL) AND (pdf_version_id IS NULL) = (sha256 IS NULL)
        AND (sha256 IS NULL) = (void_reason IS NOT NULL AND void_reason = 'NOT_CREATED')),
    CONSTRAINT void_has_a_reason CHECK ((status = 'VOID') = (void_reason IS NOT NULL)),
    CONSTRAINT executed_is_sealed CHECK (
        (status = 'EXECUTED') = (sealed_sha256 IS NOT NULL)
        AND (sealed_key IS NULL) = (sealed_sha256 IS NULL)
        AND (sealed_version_id IS NULL) = (sealed_sha256 IS NULL)
        AND (executed_at IS NULL) = (sealed_sha256 IS NULL))
);
CREATE INDEX ON contracts (status);
CREATE INDEX ON contracts (seller_id, id);
CREATE INDEX ON contracts (buyer_id, id);

CREATE TABLE signatures (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    contract_id uuid NOT NULL,
    document_sha256 text NOT NULL,
    consent_version text NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock(),
    ip_address text,
    user_agent text,
    signature_method text NOT NULL
        CHECK (signature_method IN ('DISCORD_NATIVE', 'WEB_BASED', 'API')),
    UNIQUE (user_id, contract_id),
    FOREIGN KEY (contract_id, document_sha256) REFERENCES contracts (id, sha256)
);
CREATE INDEX ON signatures (contract_id);

CREATE TABLE contract_sign_tokens (
    id uuid PRIMARY KEY,
    token_sha256 text NOT NULL UNIQUE,
    contract_id uuid NOT NULL REFERENCES contracts (id),
    user_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON contract_sign_tokens (contract_id, user_id);
CREATE INDEX ON contract_sign_tokens (expires_at);

CREATE TABLE contract_execution_jobs (
    id uuid PRIMARY KEY,
    contract_id uuid NOT NULL UNIQUE REFERENCES contracts (id),
    headers jsonb NOT NULL,
    status text NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED')),
    next_retry_at timestamptz NOT NULL DEFAULT clock(),
    processing_started_at timestamptz,
    lease_until timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    max_attempts bigint NOT NULL DEFAULT 3,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    completed_at timestamptz
);
CREATE INDEX ON contract_execution_jobs (status, next_retry_at);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    version bigint NOT NULL,
    kyc_tier text NOT NULL CHECK (kyc_tier IN ('TIER_0', 'TIER_1', 'TIER_2')),
    is_frozen boolean NOT NULL
);
"""

FIRM = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON signatures
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_other_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'What was agreed in a contract never changes';
END $$;
CREATE TRIGGER words_stay BEFORE UPDATE ON contracts FOR EACH ROW
    WHEN (OLD.deal IS DISTINCT FROM NEW.deal OR OLD.sha256 IS DISTINCT FROM NEW.sha256
        OR OLD.template_version IS DISTINCT FROM NEW.template_version
        OR OLD.pdf_url IS DISTINCT FROM NEW.pdf_url
        OR OLD.pdf_version_id IS DISTINCT FROM NEW.pdf_version_id)
    EXECUTE FUNCTION refuse_other_words();
CREATE TRIGGER words_stay BEFORE UPDATE ON contract_templates FOR EACH ROW
    WHEN (OLD.version IS DISTINCT FROM NEW.version OR OLD.terms IS DISTINCT FROM NEW.terms)
    EXECUTE FUNCTION refuse_other_words();
"""


def upgrade() -> None:
    create_infrastructure_v1(op, "contracts")
    execute_script(op, TABLES)
    execute_script(op, FIRM)
    grant_dml(op, "contracts", "contract_sign_tokens", "contract_execution_jobs", "users")
    execute_script(op, "GRANT SELECT, INSERT, UPDATE ON contracts TO contracts_app")
    execute_script(op, "GRANT SELECT ON contract_templates TO contracts_app")
    grant_append_only(op, "contracts", "signatures")
    _insert_template("1.0.0")


def _insert_template(version: str) -> None:
    terms = json.loads((files("contracts") / "templates" / f"{version}.json").read_text("utf-8"))
    op.get_bind().execute(
        sa.text(
            "INSERT INTO contract_templates (id, version, name, terms, is_active)"
            " VALUES (:id, :version, :name, CAST(:terms AS jsonb), true)"
        ),
        {"id": new_id(), "version": version, "name": terms["name"], "terms": json.dumps(terms)},
    )
