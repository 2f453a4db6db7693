"""A schema that holds nothing but what every service has, with an owner and an app login."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from confluent_kafka.admin import AdminClient, NewTopic

from shared.database import Sessions, create_engine
from shared.migrations import create_infrastructure_v1
from shared.testing import Stack
from shared.testing.probe import TABLES, Happened, ProbeSettings, Relayed
from shared.testing.tokens import ISSUER

_ROLES = """
CREATE ROLE probe_owner LOGIN PASSWORD 'dev-owner';
CREATE ROLE probe_app LOGIN PASSWORD 'dev-app';
ALTER ROLE probe_owner SET search_path = probe;
ALTER ROLE probe_app SET search_path = probe;
CREATE SCHEMA probe AUTHORIZATION probe_owner;
GRANT USAGE ON SCHEMA probe TO probe_app;
"""


@dataclass(frozen=True)
class Probe:
    """The schema's two logins, and the settings of a service that would use it."""

    owner_dsn: str
    app_dsn: str

    @property
    def settings(self) -> ProbeSettings:
        return ProbeSettings.model_validate(
            {
                "environment": "test",
                "database_url": self.app_dsn,
                "ops_port": 0,
                "public_url": ISSUER,
                "jwt_issuer": ISSUER,
                "jwks_url": f"{ISSUER}/.well-known/jwks.json",
            }
        )


@pytest.fixture(scope="session")
async def probe(postgres_server: Stack) -> Probe:
    server = await asyncpg.connect(postgres_server.superuser_dsn("postgres"))
    await server.execute("CREATE DATABASE test_shared")
    await server.close()
    superuser_dsn = postgres_server.superuser_dsn("test_shared")
    database = await asyncpg.connect(superuser_dsn)
    await database.execute(_ROLES)
    await database.close()
    address = superuser_dsn.rpartition("@")[2]
    made = Probe(
        owner_dsn=f"postgresql://probe_owner:dev-owner@{address}",
        app_dsn=f"postgresql://probe_app:dev-app@{address}",
    )
    engine = sa.create_engine(made.owner_dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        create_infrastructure_v1(Operations(MigrationContext.configure(connection)), "probe")
    engine.dispose()
    owner = await asyncpg.connect(made.owner_dsn)
    await owner.execute(TABLES)
    await owner.close()
    return made


@pytest.fixture(scope="session")
async def sessions(probe: Probe) -> AsyncIterator[Sessions]:
    """Transactions as the service's own login; what they commit stays."""
    engine = create_engine(probe.settings)
    yield Sessions(engine)
    await engine.dispose()


@pytest.fixture(scope="session")
async def kafka_stack(postgres_server: Stack) -> Stack:
    """Kafka with the probe's topics; the probe logs in as `admin`, who may do anything."""
    postgres_server.start("kafka")
    client = AdminClient(
        {
            "bootstrap.servers": postgres_server.kafka_bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": "admin",
            "sasl.password": postgres_server.kafka_password("admin"),
        }
    )
    topics = [NewTopic(name, 3, 1) for name in (Happened.topic, Relayed.topic, "admin.dlq")]
    for made in client.create_topics(topics).values():
        await asyncio.to_thread(made.result, 30)
    return postgres_server


@pytest.fixture(scope="session")
def settings(probe: Probe, kafka_stack: Stack) -> ProbeSettings:
    """For a worker of the probe."""
    return ProbeSettings.model_validate(
        probe.settings.model_dump()
        | {
            "kafka_bootstrap_servers": kafka_stack.kafka_bootstrap,
            "kafka_username": "admin",
            "kafka_password": kafka_stack.kafka_password("admin"),
            "kafka_use_ssl": False,
            "kafka_session_timeout_ms": 1000,
        }
    )


@pytest.fixture
async def owner(probe: Probe) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the schema's owner to tables that are empty at first."""
    connection = await asyncpg.connect(probe.owner_dsn)
    await connection.execute(
        "TRUNCATE outbox, outbox_sequences, inbox, jobs, deadlines, effects, things;"
        "UPDATE relay_leases SET holder = NULL, lease_until = NULL"
    )
    yield connection
    await connection.close()


Start = Callable[[ProbeSettings], "contextlib.AbstractAsyncContextManager[Process]"]


@pytest.fixture
def started() -> Start:
    """Runs a worker process of the probe; one that still lives at the end is killed."""

    @contextlib.asynccontextmanager
    async def start(settings: ProbeSettings) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "shared.testing.probe",
            env=os.environ | settings.environment_variables(),
            stdout=PIPE,
            limit=2**22,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    return start
