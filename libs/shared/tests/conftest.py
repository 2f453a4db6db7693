"""A schema that holds nothing but what every service has, with an owner and an app login."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from pydantic_settings import SettingsConfigDict

from shared.database import Sessions, create_engine, create_sessions
from shared.migrations import create_infrastructure_v1
from shared.settings import ServiceSettings
from shared.testing import Stack
from shared.testing.tokens import ISSUER

_ROLES = """
CREATE ROLE probe_owner LOGIN PASSWORD 'dev-owner';
CREATE ROLE probe_app LOGIN PASSWORD 'dev-app';
ALTER ROLE probe_owner SET search_path = probe;
ALTER ROLE probe_app SET search_path = probe;
CREATE SCHEMA probe AUTHORIZATION probe_owner;
GRANT USAGE ON SCHEMA probe TO probe_app;
"""


class ProbeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_", frozen=True, extra="ignore")


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
    return made


@pytest.fixture(scope="session")
async def sessions(probe: Probe) -> AsyncIterator[Sessions]:
    """Transactions as the service's own login; what they commit stays."""
    engine = create_engine(probe.settings)
    yield create_sessions(engine)
    await engine.dispose()
