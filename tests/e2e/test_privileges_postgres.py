"""Every service's login tries everything on every table; exactly what the table file says works."""

import re
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from shared.testing import Stack, connection

SERVICES = ("identity", "listings", "contracts", "escrow")
TABLE = tomllib.loads(Path(__file__).with_name("privileges_postgres.toml").read_text())
ATTEMPTS = {
    "S": "SELECT FROM {table} LIMIT 0",
    "I": "INSERT INTO {table} DEFAULT VALUES",
    "U": "UPDATE {table} SET {column} = DEFAULT WHERE false",
    "D": "DELETE FROM {table} WHERE false",
    "T": "TRUNCATE {table}",
}


@dataclass(frozen=True)
class Relation:
    schema: str
    name: str
    column: str

    @property
    def row(self) -> str:
        """Its name in the table file."""
        return re.sub(r"_\d{8}$", "_DAY", self.name)


@pytest.fixture(scope="module")
async def server(postgres_server: Stack) -> Stack:
    postgres_server.start("migrations")
    return postgres_server


@pytest.fixture(scope="module")
async def relations(server: Stack) -> list[Relation]:
    """Every table of every schema that is not PostgreSQL's own."""
    async with connection(server.superuser_dsn()) as superuser:
        rows = await superuser.fetch(
            "SELECT n.nspname, c.relname, min(a.attname) AS attname FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
            " AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
            " GROUP BY 1, 2 ORDER BY 1, 2"
        )
    return [Relation(row["nspname"], row["relname"], row["attname"]) for row in rows]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def app(server: Stack, service: str) -> AsyncIterator[asyncpg.Connection]:
    async with connection(server.app_dsn(service)) as role:
        await role.execute("SET lock_timeout = '5s'")
        yield role


async def is_allowed(role: asyncpg.Connection, statement: str) -> bool:
    """Try a statement without leaving a trace; a refusal by a constraint comes after the grant."""
    attempt = role.transaction()
    await attempt.start()
    try:
        await role.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    except asyncpg.IntegrityConstraintViolationError:
        return True
    else:
        return True
    finally:
        await attempt.rollback()


async def test_exactly_the_granted_statements_work(
    app: asyncpg.Connection, service: str, relations: list[Relation]
) -> None:
    found, expected = {}, {}
    for relation in relations:
        place = f"{relation.schema}.{relation.name}"
        found[place] = "".join(
            [
                letter
                for letter, statement in ATTEMPTS.items()
                if await is_allowed(app, statement.format(table=place, column=relation.column))
            ]
        )
        own = TABLE["every-service"] | TABLE[service] if relation.schema == service else {}
        expected[place] = own.get(relation.row, "")
    assert found == expected


def test_the_table_file_names_every_table(relations: list[Relation]) -> None:
    found = {(relation.schema, relation.row) for relation in relations}
    named = {
        (service, row) for service in SERVICES for row in TABLE["every-service"] | TABLE[service]
    }
    assert found == named


async def test_the_auditor_reads_what_invariants_need_and_changes_nothing(
    server: Stack, relations: list[Relation]
) -> None:
    found, expected = {}, {}
    async with connection(server.auditor_dsn()) as auditor:
        await auditor.execute("SET default_transaction_read_only = off")
        for relation in relations:
            place = f"{relation.schema}.{relation.name}"
            found[place] = "".join(
                [
                    letter
                    for letter, statement in ATTEMPTS.items()
                    if await is_allowed(
                        auditor, statement.format(table=place, column=relation.column)
                    )
                ]
            )
            read = TABLE["auditor"]["every-service"] + TABLE["auditor"][relation.schema]
            expected[place] = "S" if relation.row in read else ""
        assert found == expected
        for secret in (
            *("email FROM identity.users", "name FROM identity.users"),
            *("payload FROM escrow.outbox", "headers FROM contracts.outbox"),
            *("ip FROM contracts.audit_logs", "ip_address FROM contracts.signatures"),
            *("payload FROM identity.jobs", "headers FROM escrow.jobs"),
        ):
            assert not await is_allowed(auditor, f"SELECT {secret} LIMIT 0"), secret


async def test_the_auditor_begins_read_only(server: Stack) -> None:
    async with connection(server.auditor_dsn()) as auditor:
        assert await auditor.fetchval("SHOW transaction_read_only") == "on"


@pytest.mark.parametrize("kind", ["app", "owner"])
async def test_nothing_can_be_made_outside_the_own_schema(
    server: Stack, service: str, kind: str
) -> None:
    dsn = server.app_dsn(service) if kind == "app" else server.owner_dsn(service)
    async with connection(dsn) as role:
        made = {
            statement
            for statement in (
                *(f"CREATE TABLE {schema}.probe (n int)" for schema in (*SERVICES, "public")),
                *(f"CREATE VIEW {schema}.probe AS SELECT 1" for schema in (*SERVICES, "public")),
                "CREATE SCHEMA probe",
                "CREATE TEMP TABLE probe (n int)",
                "CREATE ROLE probe",
                "CREATE EXTENSION vector",
            )
            if await is_allowed(role, statement)
        }
    own = {f"CREATE TABLE {service}.probe (n int)", f"CREATE VIEW {service}.probe AS SELECT 1"}
    assert made == (own if kind == "owner" else set())


async def test_owners_read_no_other_schema(
    server: Stack, service: str, relations: list[Relation]
) -> None:
    async with connection(server.owner_dsn(service)) as owner:
        read = {
            relation.schema
            for relation in relations
            if await is_allowed(owner, f"SELECT FROM {relation.schema}.{relation.name} LIMIT 0")
        }
    assert read == {service}


async def test_an_app_role_cannot_touch_the_clock(app: asyncpg.Connection, service: str) -> None:
    for statement in (
        "CREATE OR REPLACE FUNCTION clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "ALTER FUNCTION clock() STABLE",
        "DROP FUNCTION clock() CASCADE",
        f"ALTER SCHEMA {service} RENAME TO probe",
        f"SET ROLE {service}_owner",
    ):
        assert not await is_allowed(app, statement), statement
    body = await app.fetchval("SELECT prosrc FROM pg_proc WHERE oid = 'clock()'::regprocedure")
    assert body == "SELECT clock_timestamp()"


async def test_no_role_is_more_than_a_login(server: Stack) -> None:
    async with connection(server.superuser_dsn()) as superuser:
        rows = await superuser.fetch(
            "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,"
            " rolreplication, rolbypassrls, (SELECT count(*) FROM pg_auth_members m"
            " WHERE m.member = r.oid OR m.roleid = r.oid) AS memberships"
            " FROM pg_roles r WHERE rolname ~ '(_app|_owner|^auditor)$'"
            " AND rolname !~ '^(pg|probe)_'"
        )
    nothing_but_login = (False, False, False, False, True, False, False, 0)
    assert {row["rolname"]: tuple(row)[1:] for row in rows} == {
        **{f"{s}_{kind}": nothing_but_login for s in SERVICES for kind in ("app", "owner")},
        "auditor": nothing_but_login,
    }


async def test_a_stranger_may_not_even_connect(server: Stack) -> None:
    async with connection(server.superuser_dsn()) as superuser:
        for privilege in ("CONNECT", "CREATE", "TEMPORARY"):
            assert not await superuser.fetchval(
                "SELECT has_database_privilege('public', current_database(), $1)", privilege
            )
