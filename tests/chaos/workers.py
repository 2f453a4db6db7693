"""Escrow's worker processes, forked so that a start is cheap, and killed as any process is."""

import multiprocessing
import os
import runpy
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random

from shared.testing import Stack

WORKER, HOW_MANY = "escrow.worker", 2
MAIN_IMPORTS = [f"services.escrow.tests.{name}" for name in ("books", "conftest", "machine")]
"""A fork runs the main module again, to be able to find there what it is told to do."""


def _work(log: str, environment: dict[str, str]) -> None:
    """Become escrow's worker."""
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    runpy.run_module(WORKER, run_name="__main__")


class Workers:
    """Escrow's worker processes; a dead one is started again by `tend`.

    They are forked from a process that has imported all they need: that alone takes a worker
    longer than what it then lives for.
    """

    def __init__(self, stack: Stack) -> None:
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload([WORKER, *MAIN_IMPORTS])
        self._log = str(stack.folder / "workers.log")
        self._environment = stack.env(WORKER) | {"ESCROW_OPS_PORT": "0"}
        self._running: list[ForkServerProcess] = []
        self.deaths = 0

    def tend(self) -> None:
        for process in [one for one in self._running if not one.is_alive()]:
            self._running.remove(process)
            self.deaths += 1
        while len(self._running) < HOW_MANY:
            self._start()

    def kill(self, chance: Random) -> None:
        if self._running:
            process = chance.choice(self._running)
            process.kill()
            process.join()

    def arm(self, point: str) -> None:
        """Let one more worker die where it comes to this crash point."""
        self._start(ESCROW_CRASH_AT=point)

    def _start(self, **changes: str) -> None:
        process = self._forks.Process(target=_work, args=(self._log, self._environment | changes))
        process.start()
        self._running.append(process)

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.join()
