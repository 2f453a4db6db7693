"""The state folder: passwords, ports, data and logs of one stack; what is secret is 0600."""

import fcntl
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloxtr8.errors import Misused
from bloxtr8.ports import DEFAULT_PORTS, SERVICES, free_ports

__all__ = ["ROOT", "SERVICES", "Home", "Misused", "open_home", "reachable_by_all"]

ROOT = Path(os.environ.get("BLOXTR8_ROOT", Path(__file__).parents[4]))
"""The checkout; an image sets BLOXTR8_ROOT."""
LONGEST_SOCKET_PATH = 100
"""The address of a socket has room for little more."""


def reachable_by_all(path: Path) -> bool:
    """Whether a user without privileges may pass through every folder above `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


@dataclass
class Home:
    """One stack's folder."""

    path: Path
    ports: dict[str, int]

    def socket(self, name: str) -> Path:
        """Where a socket of this name lies: in the folder, unless its path is too long for one."""
        inside = self.path / f"{name}.sock"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path("/tmp") / f"bloxtr8-{os.getuid()}-{digest}-{name}.sock"  # noqa: S108 - made 0600

    @property
    def control(self) -> Path:
        return self.socket("control")

    @property
    def stack_file(self) -> Path:
        return self.path / "stack.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def is_made(self) -> bool:
        """Whether the folder is a stack's; nothing else is ever changed or removed."""
        return (self.path / "lock").exists()

    def prepare(self) -> None:
        """Make the folder; others may pass through it (PostgreSQL drops its privileges) only.

        Raises:
            Misused: it holds something else.
        """
        if not self.is_made:
            if self.path.exists() and any(self.path.iterdir()):
                raise Misused(f"{self.path} is not empty. Name a new folder with --state.")
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o711)
            (self.path / "lock").touch(mode=0o600)
        self.folder("logs")

    def folder(self, name: str) -> Path:
        made = self.path / name
        made.mkdir(mode=0o700, exist_ok=True)
        return made

    def hold(self, *, waiting: bool = False) -> int:
        """Be the one who starts or stops this stack until the process ends, or closes what is
        returned.

        At its end the kernel lets go: who then gets the folder finds no process at work any more.

        Raises:
            Misused: another one has it, and it was not to be waited for.
        """
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if waiting else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Misused(
                    f"Another start or stop is at work in {self.path}. Wait for it."
                ) from None
            return os.dup(lock.fileno())

    def wait_until_down(self) -> None:
        """Wait until the supervisor has ended."""
        os.close(self.hold(waiting=True))

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
        draft = file.with_name(f"{file.name}.new")
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


def open_home(path: Path | None, *, any_ports: bool = False) -> Home:
    """The stack's folder: `path`, else $BLOXTR8_STATE, else `.bloxtr8` in the checkout."""
    chosen = path or Path(os.environ.get("BLOXTR8_STATE", ROOT / ".bloxtr8"))
    return Home(chosen.resolve(), free_ports() if any_ports else dict(DEFAULT_PORTS))
