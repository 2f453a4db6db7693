"""The system diagram as a table: every process and step of the stack, in what order, with what."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from bloxtr8 import downloads, environments, kafka, objects, postgres
from bloxtr8.home import ROOT, SERVICES, Home
from bloxtr8.probes import Probe, answers, listens

KINDS = ("api", "worker")
INFRASTRUCTURE = ("postgres", "kafka", "s3", "simulators", "migrations", "topics", "bucket")
GROUPS = {
    "infrastructure": INFRASTRUCTURE,
    "services": tuple(f"{service}.{kind}" for service in SERVICES for kind in KINDS),
}
"""Names that stand for several parts."""
ZYGOTE = "zygote"
LIBRARIES = (
    "asyncpg",
    "boto3",
    "botocore.config",
    "fastapi",
    "faststream.kafka",
    "httpx",
    "joserfc.jwt",
    "opentelemetry.sdk.trace",
    "prometheus_client",
    "pydantic_settings",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.ext.asyncio",
    "structlog",
    "uvicorn",
    "uvloop",
)
"""What most services import; one that is missing here costs each of them its import only."""


@dataclass(frozen=True)
class Process:
    """A child that runs as long as the stack does."""

    name: str
    command: Callable[[], list[str]]
    """Prepares what the process needs and returns its argument vector."""
    is_ready: Probe
    ports: tuple[str, ...]
    after: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    folder: Path = ROOT
    module: str | None = None
    """The module it runs, if the zygote may fork it."""


@dataclass(frozen=True)
class Step:
    """Something done once at every start; harmless to repeat."""

    name: str
    do: Callable[[], Awaitable[None]]
    after: tuple[str, ...] = ()


Part = Process | Step


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _module(name: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", name]


def everything(home: Home, progress: Callable[[str], None], *, for_tests: bool) -> list[Part]:
    """All parts of the stack; a server of one's own (by environment) is not among them."""
    return [
        *_servers(home, progress, for_tests=for_tests),
        *_steps(home),
        *_zygotes(home),
        *(_service(home, service, kind, for_tests) for service in SERVICES for kind in KINDS),
        Process(
            "gateway",
            lambda: [
                *(_program("caddy"), "run", "--adapter", "caddyfile"),
                *("--config", str(ROOT / "deploy" / "caddy" / "Caddyfile")),
            ],
            answers(home.ports["gateway"], "/.well-known/jwks.json"),
            ("gateway",),
            after=("identity.api",),
            environment=environments.of_gateway(home),
        ),
    ]


def _servers(home: Home, progress: Callable[[str], None], *, for_tests: bool) -> list[Part]:
    def start_postgres() -> list[str]:
        postgres.initialise(home)
        return postgres.arguments(home)

    def start_kafka() -> list[str]:
        jars = downloads.kafka_jars(progress)
        return kafka.arguments(kafka.initialise(home, jars, for_tests=for_tests), jars)

    servers: list[Part] = []
    if not os.environ.get("DATABASE_URL"):
        servers.append(
            Process(
                "postgres",
                start_postgres,
                lambda: postgres.is_ready(home),
                ("postgres",),
                stop_signal=signal.SIGINT,
                folder=Path("/"),
            )
        )
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        servers.append(
            Process(
                "kafka",
                start_kafka,
                lambda: kafka.is_ready(home),
                ("kafka", "kafka_controller"),
            )
        )
    if not os.environ.get("S3_ENDPOINT_URL"):
        servers.append(
            Process(
                "s3",
                lambda: objects.arguments(home, _program("weed")),
                answers(home.ports["s3"], "/healthz"),
                ("s3", "s3_master", "s3_volume", "s3_filer", "s3_admin"),
                environment={"GOMEMLIMIT": "400MiB"},
                folder=home.path / "s3",
            )
        )
    return [
        *servers,
        Process(
            "simulators",
            _module("simulators"),
            answers(home.ports["simulators"], "/health/ready"),
            ("simulators",),
            environment=environments.of_simulators(home),
        ),
    ]


def _steps(home: Home) -> list[Part]:
    async def make_topics() -> None:
        await asyncio.to_thread(kafka.apply_table, home)

    async def make_buckets() -> None:
        await asyncio.to_thread(objects.make_buckets, home)

    return [
        Step("migrations", lambda: postgres.migrate(home), after=("postgres",)),
        Step("topics", make_topics, after=("kafka",)),
        Step("bucket", make_buckets, after=("s3",)),
    ]


def _zygotes(home: Home) -> list[Part]:
    if sys.platform != "linux":  # elsewhere what was forked cannot die with its parent
        return []
    address = home.socket(ZYGOTE)
    return [
        Process(
            ZYGOTE,
            lambda: [*_module("bloxtr8.zygote")(), str(address), *LIBRARIES],
            listens(address),
            (),
        )
    ]


def _service(home: Home, service: str, kind: str, for_tests: bool) -> Process:
    ops = f"{service}.{kind}_ops"
    is_api = kind == "api"
    return Process(
        f"{service}.{kind}",
        _module(f"{service}.{kind}"),
        answers(home.ports[ops], "/health/ready"),
        (f"{service}.api", ops) if is_api else (ops,),
        after=(ZYGOTE, "migrations") if is_api else (ZYGOTE, "migrations", "topics", "bucket"),
        environment=environments.of_service(home, service, kind, for_tests=for_tests),
        module=f"{service}.{kind}",
    )
