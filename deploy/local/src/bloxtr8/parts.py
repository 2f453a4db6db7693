"""The system diagram as a table: every process and step of the stack, in what order, with what."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bloxtr8 import downloads, kafka, objects, postgres
from bloxtr8.home import ROOT, SERVICES, Home

Probe = Callable[[], Awaitable[bool]]
INFRASTRUCTURE = ("postgres", "kafka", "s3", "simulators")
STRIPE_API_KEY = "sk_test_bloxtr8"


@dataclass(frozen=True)
class Process:
    """A child that runs as long as the stack does."""

    name: str
    command: Callable[[], list[str]]
    """Prepares what the process needs and returns its argument vector."""
    is_ready: Probe
    after: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    folder: Path = ROOT


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


def _answers(url: str) -> Probe:
    async def probe() -> bool:
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                return (await client.get(url)).status_code == 200
        except httpx.HTTPError:
            return False

    return probe


def public_url(home: Home) -> str:
    return f"http://127.0.0.1:{home.ports['gateway']}"


def simulators_url(home: Home) -> str:
    return f"http://127.0.0.1:{home.ports['simulators']}"


def _common(home: Home, service: str, process: str, *, for_tests: bool) -> dict[str, str]:
    prefix = service.upper()
    values = {
        "ENVIRONMENT": "test" if for_tests else "local",
        "DATABASE_URL": postgres.role_url(home, f"{service}_app"),
        "PORT": str(home.ports[f"{service}.api"]),
        "OPS_PORT": str(home.ports[f"{service}.{process}_ops"]),
        "PUBLIC_URL": public_url(home),
        "JWT_ISSUER": public_url(home),
        "JWKS_URL": f"http://127.0.0.1:{home.ports['identity.api']}/.well-known/jwks.json",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers(home),
        "KAFKA_USERNAME": service,
        "KAFKA_PASSWORD": home.secret(f"kafka_{service}"),
        "KAFKA_USE_SSL": "false",
        "KAFKA_SESSION_TIMEOUT_MS": "1500" if for_tests else "10000",
    }
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _own(home: Home, service: str) -> dict[str, str]:
    """What only this service needs."""
    world = simulators_url(home)
    match service:
        case "identity":
            return {
                "IDENTITY_ENCRYPTION_KEY": home.secret("identity_encryption"),
                "IDENTITY_DISCORD_CLIENT_ID": "bloxtr8",
                "IDENTITY_DISCORD_CLIENT_SECRET": home.secret("discord"),
                "IDENTITY_DISCORD_AUTHORIZE_URL": f"{world}/discord/oauth2/authorize",
                "IDENTITY_DISCORD_TOKEN_URL": f"{world}/discord/api/oauth2/token",
                "IDENTITY_DISCORD_API_URL": f"{world}/discord/api",
                "IDENTITY_ROBLOX_CLIENT_ID": "bloxtr8",
                "IDENTITY_ROBLOX_CLIENT_SECRET": home.secret("roblox"),
                "IDENTITY_ROBLOX_OAUTH_URL": f"{world}/roblox/oauth",
                "IDENTITY_ROBLOX_GAMES_URL": f"{world}/roblox/games",
                "IDENTITY_ROBLOX_GROUPS_URL": f"{world}/roblox/groups",
                "IDENTITY_ROBLOX_THUMBNAILS_URL": f"{world}/roblox/thumbnails",
            }
        case "contracts":
            access, secret = objects.keys(home, "contracts")
            store, root = objects.make_seal(home)
            return {
                "CONTRACTS_S3_ENDPOINT_URL": objects.endpoint(home),
                "CONTRACTS_S3_ACCESS_KEY": access,
                "CONTRACTS_S3_SECRET_KEY": secret,
                "CONTRACTS_S3_BUCKET": objects.BUCKET,
                "CONTRACTS_S3_REGION": objects.REGION,
                "CONTRACTS_SEAL_PKCS12_FILE": str(store),
                "CONTRACTS_SEAL_PKCS12_PASSWORD": home.secret("seal"),
                "CONTRACTS_SEAL_ROOT_FILE": str(root),
            }
        case "escrow":
            return {
                "ESCROW_STRIPE_API_KEY": STRIPE_API_KEY,
                "ESCROW_STRIPE_API_URL": f"{world}/stripe",
                "ESCROW_STRIPE_WEBHOOK_SECRETS": home.secret("stripe_webhook"),
            }
        case _:
            return {}


def service_environment(
    home: Home, service: str, process: str, *, for_tests: bool
) -> dict[str, str]:
    return _common(home, service, process, for_tests=for_tests) | _own(home, service)


def _simulators_environment(home: Home) -> dict[str, str]:
    return {
        "SIMULATORS_HOST": "127.0.0.1",
        "SIMULATORS_PORT": str(home.ports["simulators"]),
        "SIMULATORS_STRIPE_WEBHOOK_URL": f"{public_url(home)}/v1/webhooks/stripe",
        "SIMULATORS_STRIPE_WEBHOOK_SECRET": home.secret("stripe_webhook"),
        "SIMULATORS_STRIPE_API_KEY": STRIPE_API_KEY,
        "SIMULATORS_DISCORD_CLIENT_ID": "bloxtr8",
        "SIMULATORS_DISCORD_CLIENT_SECRET": home.secret("discord"),
        "SIMULATORS_ROBLOX_CLIENT_ID": "bloxtr8",
        "SIMULATORS_ROBLOX_CLIENT_SECRET": home.secret("roblox"),
        "SIMULATORS_STATE_FILE": str(home.path / "simulators.json"),
    }


def _gateway_environment(home: Home) -> dict[str, str]:
    apis = {
        f"{service.upper()}_API": f"127.0.0.1:{home.ports[f'{service}.api']}"
        for service in SERVICES
    }
    return apis | {
        "GATEWAY_ADDRESS": public_url(home),
        "GATEWAY_STORAGE": str(home.path / "caddy"),
    }


def everything(home: Home, progress: Callable[[str], None], *, for_tests: bool) -> list[Part]:
    """All parts of the stack; a server of one's own (by environment) is not among them."""
    parts: list[Part] = []

    def start_postgres() -> list[str]:
        postgres.initialise(home)
        return postgres.arguments(home)

    def start_kafka() -> list[str]:
        jars = downloads.kafka_jars(progress)
        return kafka.arguments(kafka.initialise(home, jars, for_tests=for_tests), jars)

    async def kafka_is_ready() -> bool:
        return await asyncio.to_thread(kafka.is_ready, home)

    async def make_topics() -> None:
        await asyncio.to_thread(kafka.apply_table, home)

    async def make_bucket() -> None:
        await asyncio.to_thread(objects.make_bucket, home)

    async def migrate() -> None:
        await postgres.make_database(home)
        await run_migrations(home)

    if not os.environ.get("DATABASE_URL"):
        parts.append(
            Process(
                "postgres",
                start_postgres,
                lambda: postgres.is_ready(home),
                stop_signal=signal.SIGINT,
                folder=Path("/"),
            )
        )
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        parts.append(Process("kafka", start_kafka, kafka_is_ready))
    if not os.environ.get("S3_ENDPOINT_URL"):
        parts.append(
            Process(
                "s3",
                lambda: objects.arguments(home, _program("weed")),
                lambda: objects.is_ready(home),
                environment={"GOMEMLIMIT": "400MiB"},
                folder=home.path / "s3",
            )
        )
    parts += [
        Process(
            "simulators",
            _module("simulators"),
            _answers(f"{simulators_url(home)}/health/ready"),
            environment=_simulators_environment(home),
        ),
        Step("migrations", migrate, after=("postgres",)),
        Step("topics", make_topics, after=("kafka",)),
        Step("bucket", make_bucket, after=("s3",)),
        *(_service(home, service, kind, for_tests) for service in SERVICES for kind in KINDS),
        Process(
            "gateway",
            lambda: [
                *(_program("caddy"), "run", "--adapter", "caddyfile"),
                *("--config", str(ROOT / "deploy" / "caddy" / "Caddyfile")),
            ],
            _answers(f"{public_url(home)}/.well-known/jwks.json"),
            after=("identity.api",),
            environment=_gateway_environment(home),
        ),
    ]
    return parts


KINDS = ("api", "worker")


def _service(home: Home, service: str, kind: str, for_tests: bool) -> Process:
    ops = home.ports[f"{service}.{kind}_ops"]
    waits_for = ("migrations",) if kind == "api" else ("migrations", "topics", "bucket")
    return Process(
        f"{service}.{kind}",
        _module(f"{service}.{kind}"),
        _answers(f"http://127.0.0.1:{ops}/health/ready"),
        after=waits_for,
        environment=service_environment(home, service, kind, for_tests=for_tests),
    )


async def run_migrations(home: Home, database: str = postgres.DATABASE) -> None:
    """Bring all schemas of a database to the newest revision, each as its owner.

    Raises:
        RuntimeError: a migration failed; carries its output.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shared.migrations"),
        env={**os.environ, **postgres.migration_environment(home, database)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    output, _ = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError(output.decode()[-2000:])
