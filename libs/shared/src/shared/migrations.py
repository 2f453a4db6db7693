"""Runs a service's Alembic migrations as its owner role: `python -m shared.migrations escrow`.

The infrastructure tables that every service has are made by `create_infrastructure_v1`, which is
frozen: a later change is a new migration.
"""

import argparse
import os
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.operations import Operations
from sqlalchemy.engine import make_url

from shared.database import Model

SERVICES = ("identity", "listings", "contracts", "escrow")
ROOT = Path(os.environ.get("BLOXTR8_ROOT", Path(__file__).parents[4]))
"""The checkout; an image sets BLOXTR8_ROOT."""

_INFRASTRUCTURE_V1 = """
CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

CREATE TABLE audit_logs (
    id uuid PRIMARY KEY,
    action text NOT NULL,
    user_id uuid,
    client text,
    subject_type text NOT NULL,
    subject_id text NOT NULL,
    details jsonb NOT NULL,
    ip text,
    user_agent text,
    request_id text,
    created_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON audit_logs (user_id);
CREATE INDEX ON audit_logs (subject_type, subject_id);
CREATE INDEX ON audit_logs (action);
CREATE INDEX ON audit_logs (created_at);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    aggregate_id text NOT NULL,
    sequence bigint NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    payload bytea NOT NULL,
    headers jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock(),
    published_at timestamptz,
    UNIQUE (aggregate_id, sequence)
);
CREATE INDEX outbox_pending ON outbox (id) WHERE published_at IS NULL;
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE outbox_sequences (aggregate_id text PRIMARY KEY, last bigint NOT NULL);

CREATE TABLE relay_leases (
    name text PRIMARY KEY,
    holder uuid,
    fence bigint NOT NULL DEFAULT 0,
    lease_until timestamptz
);
INSERT INTO relay_leases (name) VALUES ('outbox');

CREATE TABLE inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    topic text NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT clock(),
    PRIMARY KEY (consumer, event_id)
) PARTITION BY RANGE (event_id);
CREATE TABLE inbox_other PARTITION OF inbox DEFAULT;

CREATE FUNCTION uuid7_floor(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
            || '00000000000000000000')::uuid
$$;
CREATE FUNCTION maintain_inbox() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
    today date := (clock() AT TIME ZONE 'UTC')::date;
    day date;
    old text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '.maintain_inbox', 0));
    FOR day IN SELECT today + n FROM generate_series(-1, 7) AS n LOOP
        IF to_regclass(format('inbox_%s', to_char(day, 'YYYYMMDD'))) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE TABLE inbox_%s PARTITION OF inbox FOR VALUES FROM (%L) TO (%L)',
                    to_char(day, 'YYYYMMDD'),
                    uuid7_floor(day::timestamp AT TIME ZONE 'UTC'),
                    uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            EXCEPTION WHEN check_violation THEN
                NULL; -- nobody made it in time: that day's rows are in inbox_other, and stay there
            END;
        END IF;
    END LOOP;
    FOR old IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'inbox'::regclass AND c.relname ~ '^inbox_\\d{8}$'
                 AND c.relname < format('inbox_%s', to_char(today - 30, 'YYYYMMDD')) LOOP
        EXECUTE format('DROP TABLE %I', old);
    END LOOP;
    DELETE FROM inbox_other
        WHERE event_id < uuid7_floor((today - 30)::timestamp AT TIME ZONE 'UTC')
            AND handled_at < clock() - interval '30 days';
END $$;
REVOKE EXECUTE ON FUNCTION maintain_inbox() FROM PUBLIC;
SELECT maintain_inbox();

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    job_key text NOT NULL UNIQUE,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    headers jsonb NOT NULL,
    status text NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED')),
    run_at timestamptz NOT NULL DEFAULT clock(),
    processing_started_at timestamptz,
    lease_until timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    max_attempts bigint NOT NULL,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    completed_at timestamptz
);
CREATE INDEX jobs_due ON jobs (run_at) WHERE status IN ('PENDING', 'PROCESSING');

CREATE TABLE deadlines (
    aggregate_id uuid NOT NULL,
    kind text NOT NULL,
    due_at timestamptz NOT NULL,
    done_at timestamptz,
    PRIMARY KEY (aggregate_id, kind)
);
CREATE INDEX deadlines_due ON deadlines (due_at) WHERE done_at IS NULL;

CREATE TABLE idempotency_keys (
    id bytea PRIMARY KEY,
    body_hash bytea NOT NULL,
    status bigint NOT NULL,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON idempotency_keys (created_at);

CREATE TABLE rate_limits (
    bucket text PRIMARY KEY,
    window_ends_at timestamptz NOT NULL,
    hits bigint NOT NULL
);

CREATE TABLE signing_key_cache (
    kid text PRIMARY KEY,
    jwk jsonb NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT clock()
);
"""

_GRANTS_V1 = """
GRANT SELECT, INSERT ON audit_logs TO {app};
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox, outbox_sequences, inbox, jobs, deadlines,
    idempotency_keys, rate_limits, signing_key_cache TO {app};
GRANT SELECT, UPDATE ON relay_leases TO {app};
GRANT EXECUTE ON FUNCTION maintain_inbox(), clock(), uuid7_floor(timestamptz) TO {app};
"""


def execute_script(operations: Operations, script: str) -> None:
    """Run a script of plain SQL statements: nothing in it is taken for a parameter."""
    driver = operations.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(script)


def create_infrastructure_v1(operations: Operations, service: str) -> None:
    """The tables of audit, outbox, inbox, jobs, deadlines, idempotency keys and limits."""
    execute_script(operations, _INFRASTRUCTURE_V1)
    execute_script(operations, _GRANTS_V1.format(app=f"{service}_app"))


def grant_dml(operations: Operations, service: str, *tables: str) -> None:
    """Let the service's login read and write the rows of these tables."""
    execute_script(
        operations,
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(tables)} TO {service}_app",
    )


def grant_append_only(operations: Operations, service: str, *tables: str) -> None:
    """Let the service's login add rows to these tables and read them, never change them."""
    execute_script(operations, f"GRANT SELECT, INSERT ON {', '.join(tables)} TO {service}_app")


def grant_audit_v1(operations: Operations, **tables: str) -> None:
    """Let the auditor read what the invariants need.

    Args:
        operations: Alembic's.
        tables: the service's own; each with its columns, comma-separated, or `*` for all.
    """
    every = {
        "audit_logs": "id, action, subject_type, subject_id, details, created_at",
        "outbox": "id, event_id, aggregate_id, sequence, topic, created_at, published_at",
        "jobs": "id, job_key, kind, status, run_at, lease_until, attempts, max_attempts",
        "outbox_sequences": "*",
        "inbox": "*",
        "deadlines": "*",
    }
    for table, columns in (every | tables).items():
        some = "" if columns == "*" else f"({columns})"
        execute_script(operations, f"GRANT SELECT {some} ON {table} TO auditor")
    execute_script(operations, "GRANT EXECUTE ON FUNCTION clock() TO auditor")


def run_environment() -> None:
    """What each service's `migrations/env.py` calls."""
    url = make_url(context.config.attributes["url"]).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Model.metadata,
            version_table="alembic_version",
            transaction_per_migration=False,
        )
        with context.begin_transaction():
            # Two starters at once: the second waits, then finds nothing to do.
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(8453)"))
            context.run_migrations()
    engine.dispose()


def upgrade(service: str, url: str) -> None:
    """Bring one service's schema to the newest revision; harmless to repeat."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "services" / service / "migrations"))
    config.attributes["url"] = url
    command.upgrade(config, "head")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.migrations", description=__doc__)
    parser.add_argument("services", nargs="*", metavar="service", help=f"of {', '.join(SERVICES)}")
    for service in parser.parse_args().services or SERVICES:
        variable = f"{service.upper()}_MIGRATION_DATABASE_URL"
        if service not in SERVICES or variable not in os.environ:
            sys.stderr.write(f"{service}: needs {variable} and one of {', '.join(SERVICES)}.\n")
            sys.exit(2)
        upgrade(service, os.environ[variable])


if __name__ == "__main__":
    main()
