"""One stack a test run, started when the first test needs it and only as much as is needed."""

from collections.abc import Iterator

import pytest
import structlog

from shared.testing.stack import Stack


def pytest_configure() -> None:
    """Plain log lines: structlog's coloured tracebacks hold up the event loop for seconds."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ]
    )


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
