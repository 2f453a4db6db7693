"""A stack in a folder that only its owner may enter, used by the command alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from bloxtr8.control import ask
from bloxtr8.home import Home
from bloxtr8.parts import Part
from bloxtr8.supervisor import Supervisor

PROGRAM = str(Path(sys.executable).parent / "bloxtr8")
OWN_SERVERS = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "S3_ENDPOINT_URL", "BLOXTR8_STATE")
WITHIN_SECONDS = 60


def environment(**changes: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OWN_SERVERS} | changes


@dataclass
class Stack:
    """The command on one state folder, and the process group of its foreground `up`."""

    folder: Path
    supervisor: subprocess.Popen[str] | None = None
    said: Path = field(init=False)

    def __post_init__(self) -> None:
        self.said = self.folder.with_suffix(".said")

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        verb, *rest = arguments
        return subprocess.run(
            [PROGRAM, verb, "--state", str(self.folder), *rest],
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_SECONDS,
            env=environment(**changes),
        )

    def up(self, only: str) -> None:
        """Start in the foreground, as in a terminal of its own, and wait until it is up."""
        with self.said.open("w") as said:
            self.supervisor = subprocess.Popen(
                [PROGRAM, "up", "--state", str(self.folder), "--free-ports", "--only", only],
                stdout=said,
                stderr=said,
                text=True,
                env=environment(),
                start_new_session=True,
            )
        self.wait_until_said("The stack is up")

    def wait_until_said(self, words: str) -> None:
        deadline = time.monotonic() + WITHIN_SECONDS
        while words not in self.said.read_text():
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Press Ctrl-C; returns the exit code."""
        assert self.supervisor is not None
        os.killpg(self.supervisor.pid, signal.SIGINT)
        return self.supervisor.wait(WITHIN_SECONDS)

    def rows(self) -> dict[str, dict[str, Any]]:
        """What `status` shows, by name."""
        return {row["name"]: row for row in ask(Home(self.folder, {}), "status")}

    def described(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "stack.json").read_text()))

    def family(self) -> list[psutil.Process]:
        """Every process of the stack but the supervisor."""
        assert self.supervisor is not None
        return psutil.Process(self.supervisor.pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process], within_seconds: float = 10) -> None:
    _, alive = psutil.wait_procs(processes, timeout=within_seconds)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


Build = Callable[..., Supervisor]


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    """Makes a supervisor of these parts, for the folder `state`."""
    home = Home(tmp_path / "state", {})
    home.prepare()
    made: list[Supervisor] = []

    def build(*parts: Part) -> Supervisor:
        made.append(Supervisor(home, list(parts), lambda _: None))
        return made[-1]

    yield build
    for supervisor in made:
        await supervisor.stop_all()


async def always() -> bool:
    return True


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path / "state")
    yield made
    made.run("down", "--wipe")
