"""The state folder: passwords, ports, data and logs of one stack; what is secret is 0600."""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(os.environ.get("BLOXTR8_ROOT", Path(__file__).parents[4]))
"""The checkout; an image sets BLOXTR8_ROOT."""
SERVICES = ("identity", "listings", "contracts", "escrow")
GRPC_OFFSET = 10_000
"""SeaweedFS opens each of its ports a second time, this far above."""
DEFAULT_PORTS = {
    "gateway": 8080,
    "postgres": 15432,
    "kafka": 19092,
    "kafka_controller": 19093,
    "s3": 18333,
    "s3_master": 19333,
    "s3_volume": 19340,
    "s3_filer": 18888,
    "simulators": 18500,
    **{
        f"{service}.{kind}": 18600 + 10 * number + offset
        for number, service in enumerate(SERVICES)
        for offset, kind in enumerate(("api", "api_ops", "worker_ops"))
    },
}


class Misused(Exception):
    """The command cannot be done as asked; the message says what to do instead."""


def reachable_by_all(path: Path) -> bool:
    """Whether a user without privileges may pass through every folder above `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def free_port() -> int:
    """A port that is free now, as is the one SeaweedFS would open above it."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        if all(_is_free(candidate) for candidate in (port, port + GRPC_OFFSET)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Who listens on a port, for a message: `nginx (pid 123)`."""
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN":
            with contextlib.suppress(psutil.Error, TypeError):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another process"


@dataclass
class Home:
    """One stack's folder."""

    path: Path
    ports: dict[str, int]

    @property
    def control(self) -> Path:
        # A socket's path may have 107 bytes at most, so it does not lie in the folder itself.
        name = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]
        return Path("/tmp") / f"bloxtr8-{os.getuid()}-{name}.sock"  # noqa: S108 - 0600, by uid

    @property
    def stack_file(self) -> Path:
        return self.path / "stack.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def prepare(self) -> None:
        """Make the folder; others may pass through it (PostgreSQL drops its privileges) only."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o711)
        self.folder("logs")

    def folder(self, name: str) -> Path:
        made = self.path / name
        made.mkdir(mode=0o700, exist_ok=True)
        return made

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One supervisor a folder.

        Raises:
            BlockingIOError: another one has it.
        """
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def secret(self, name: str) -> str:
        """The stack's password of this name, made at first use and kept.

        It starts with `dev-`, which services in production mode refuse.
        """
        kept = self._secrets()
        if name not in kept:
            kept[name] = f"dev-{secrets.token_hex(16)}"
            self.write_private(self.path / "secrets.json", json.dumps(kept, indent=1))
        return str(kept[name])

    def _secrets(self) -> dict[str, str]:
        file = self.path / "secrets.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    @staticmethod
    def write_private(file: Path, text: str) -> None:
        """Write a file that its owner alone may read, at once or not at all."""
        draft = file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
        draft.replace(file)

    def description(self) -> dict[str, Any]:
        """What a running stack says of itself (stack.json).

        Raises:
            Misused: there is none.
        """
        if not self.stack_file.exists():
            raise Misused(f"No stack has been started in {self.path}. Start one: bloxtr8 up")
        return dict(json.loads(self.stack_file.read_text()))

    def check_ports(self, needed: list[str]) -> None:
        """Refuse to start beside somebody else's server.

        Raises:
            Misused: a port is taken; names it, its use and the process that has it.
        """
        for name in needed:
            port = self.ports[name]
            if not _is_free(port):
                raise Misused(
                    f"Port {port} ({name}) is in use by {holder_of(port)}. "
                    "Stop that process, or start with --free-ports."
                )


def open_home(path: Path | None, *, free_ports: bool = False) -> Home:
    """The stack's folder: `path`, else $BLOXTR8_STATE, else `.bloxtr8` in the checkout."""
    chosen = path or Path(os.environ.get("BLOXTR8_STATE", ROOT / ".bloxtr8"))
    ports = {name: free_port() for name in DEFAULT_PORTS} if free_ports else dict(DEFAULT_PORTS)
    return Home(chosen.resolve(), ports)
