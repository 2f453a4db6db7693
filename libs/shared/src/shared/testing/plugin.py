"""One stack a test run, started when the first test needs it and only as much as is needed."""

from collections.abc import Iterator

import pytest

from shared.testing.stack import Stack


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Stack]:
    """The stack with PostgreSQL running."""
    with Stack.started() as stack:
        yield stack


@pytest.fixture(scope="session")
def infrastructure(postgres_server: Stack) -> Stack:
    """PostgreSQL, Kafka with topics and ACLs, S3 with its bucket, and the simulators."""
    postgres_server.start("infrastructure")
    return postgres_server


@pytest.fixture(scope="session")
def stack(infrastructure: Stack) -> Stack:
    """Everything, services and gateway included."""
    infrastructure.start("services", "gateway")
    return infrastructure
