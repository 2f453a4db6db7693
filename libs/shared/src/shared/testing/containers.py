"""PostgreSQL, Kafka and S3 in containers instead of processes: TEST_STACK=containers.

The images and the broker's start are those of docker compose. Every container keeps its address
when it is stopped and started again, as a process of the stack does.
"""

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.migrations import ROOT
from shared.testing.ports import free_port

READY_WITHIN_SECONDS = 120


@dataclass(frozen=True)
class Container:
    """One server; `docker` is the engine's own handle of it."""

    name: str
    docker: Any
    is_ready: list[str]
    """The command that succeeds inside once the server answers."""

    def start(self) -> None:
        """Start it (again) and return when it answers.

        Raises:
            TimeoutError: it does not; carries the end of its log.
        """
        self.docker.start()
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while self._is_stopped() or self.docker.exec_run(self.is_ready).exit_code != 0:
            if time.monotonic() > deadline:
                said = self.docker.logs(tail=30).decode(errors="replace")
                raise TimeoutError(f"{self.name} does not answer:\n{said}")
            time.sleep(0.1)

    def _is_stopped(self) -> bool:
        self.docker.reload()
        return str(self.docker.status) != "running"

    def stop(self) -> None:
        self.docker.stop(timeout=10)

    def kill(self) -> None:
        self.docker.kill()


@dataclass(frozen=True)
class Servers:
    """The containers of a test run, and what tells `bloxtr8` to use them."""

    containers: dict[str, Container]
    environment: dict[str, str]


@contextlib.contextmanager
def containers_if_asked(folder: Path) -> Iterator[Servers | None]:
    """The containers when TEST_STACK says so; None when the stack starts its own processes.

    Raises:
        RuntimeError: TEST_STACK is unknown, or no Docker engine answers.
    """
    match os.environ.get("TEST_STACK", "processes"):
        case "processes":
            yield None
        case "containers":
            with contextlib.ExitStack() as ending:
                yield _start_all(folder, ending)
        case other:
            raise RuntimeError(f"TEST_STACK is {other!r}; it may be 'processes' or 'containers'.")


def _start_all(folder: Path, ending: contextlib.ExitStack) -> Servers:
    # Imported on demand: usual runs need no Docker client.
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415

    try:
        DockerClient().client.ping()
    except Exception as error:
        raise RuntimeError(
            f"TEST_STACK=containers needs a Docker engine, and none answers: {error}"
        ) from error
    password = f"dev-{secrets.token_hex(16)}"
    ports = {name: free_port() for name in ("postgres", "kafka", "s3")}
    s3_config = folder / "s3.json"
    s3_config.write_text(json.dumps({"identities": [_s3_identity(password)]}))
    recipes = {
        "postgres": (
            DockerContainer(_image("postgres"))
            .with_command("postgres -c max_connections=200 -c wal_level=logical")
            .with_env("POSTGRES_USER", "bloxtr8_admin")
            .with_env("POSTGRES_PASSWORD", password)
            .with_env("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --auth=scram-sha-256")
            .with_bind_ports(5432, ports["postgres"]),
            ["pg_isready", "--quiet", "--host=127.0.0.1"],
        ),
        "kafka": (
            DockerContainer(_image("apache/kafka"))
            .with_kwargs(entrypoint=["/bin/bash", "/start.sh"], user="appuser")
            .with_volume_mapping(str(ROOT / "deploy" / "kafka" / "start.sh"), "/start.sh", "ro")
            .with_env("CLUSTER_ID", "YmxveHRyOC10ZXN0aW5nMQ")
            .with_env("BROKER_PASSWORD", password)
            .with_env("ADMIN_PASSWORD", password)
            .with_env("ADVERTISED_ADDRESS", f"127.0.0.1:{ports['kafka']}")
            .with_env("GROUP_MIN_SESSION_TIMEOUT_MS", "1000")
            .with_bind_ports(9092, ports["kafka"]),
            ["/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9092"],
        ),
        "s3": (
            DockerContainer(_image("chrislusf/seaweedfs"))
            .with_kwargs(entrypoint=["/usr/bin/weed"])
            .with_command(
                "-logtostderr mini -dir=/data -ip=127.0.0.1 -ip.bind=0.0.0.0 -s3.port=8333"
                " -webdav=false -admin.ui=false -s3.port.iceberg=0 -s3.port.lance=0"
                " -master.telemetry=false -disableHttp -s3.autoCreateBucket=false"
                " -s3.allowDeleteBucketNotEmpty=false -s3.config=/s3.json"
            )
            .with_volume_mapping(str(s3_config), "/s3.json", "ro")
            .with_bind_ports(8333, ports["s3"]),
            ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8333/healthz"],
        ),
    }
    containers = {}
    for name, (recipe, is_ready) in recipes.items():
        ending.callback(recipe.stop)
        recipe.start()
        containers[name] = Container(name, recipe.get_wrapped_container(), is_ready)
    for container in containers.values():
        container.start()
    return Servers(
        containers,
        {
            "DATABASE_URL": f"postgresql://bloxtr8_admin:{password}@127.0.0.1:{ports['postgres']}/bloxtr8",
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{ports['kafka']}",
            "KAFKA_ADMIN_PASSWORD": password,
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
            "S3_ACCESS_KEY": "DEVADMIN",
            "S3_SECRET_KEY": password,
        },
    )


def _image(repository: str) -> str:
    """The image that docker compose uses, with its tag.

    Raises:
        LookupError: it uses none of this repository.
    """
    compose = (ROOT / "docker-compose.yml").read_text()
    found = re.search(rf"^ +image: ({re.escape(repository)}:\S+)$", compose, re.MULTILINE)
    if found is None:
        raise LookupError(f"docker-compose.yml has no image of {repository}.")
    return found[1]


def _s3_identity(secret: str) -> dict[str, Any]:
    return {
        "name": "admin",
        "credentials": [{"accessKey": "DEVADMIN", "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
