"""Keeps the parts of the stack running: in order, restarted when they die, gone when it stops.

Every child is a process group of its own and dies with the supervisor (PR_SET_PDEATHSIG), so that
even a killed supervisor leaves nothing behind.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bloxtr8 import memory
from bloxtr8.control import UP_STATES
from bloxtr8.errors import Misused
from bloxtr8.home import Home
from bloxtr8.parts import GROUPS, INFRASTRUCTURE, ZYGOTE, Part, Process, Step
from bloxtr8.zygote import Fork, Request, die_with_parent

READY_WITHIN_SECONDS = 120
"""A busy machine may be ten times slower than an idle one."""
PROBE_SECONDS = 0.1
STOP_WITHIN_SECONDS = 10
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 10.0
STEADY_SECONDS = 30
"""A child that ran this long begins again with the shortest backoff."""
TRIES = 3
"""How often a step, or a process that was never ready, is tried."""

Running = asyncio.subprocess.Process | Fork


@dataclass
class Child:
    """What is known of one part."""

    part: Part
    state: str = "stopped"
    """waiting, starting, ready, restarting, stopped, failed; a step ends as done."""
    running: Running | None = None
    started_at: float = 0.0
    ready_seconds: float | None = None
    """From its last start; None while it is not ready."""
    has_been_ready: bool = False
    restarts: int = 0
    task: asyncio.Task[None] | None = None
    problem: str = ""

    @property
    def is_up(self) -> bool:
        return self.state in UP_STATES

    @property
    def is_given_up(self) -> bool:
        """Whether nothing should wait for it any longer."""
        is_slow = self.state == "starting" and bool(self.problem)
        return self.state in {"failed", "stopped"} or is_slow


def _dies_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    return partial(die_with_parent, os.getpid(), number) if sys.platform == "linux" else None


class Supervisor:
    """Runs parts; `changed` is called whenever one changes its state."""

    def __init__(self, home: Home, parts: list[Part], changed: Callable[[Child], None]) -> None:
        self.home = home
        self.children = {part.name: Child(part) for part in parts}
        self.stopping = asyncio.Event()
        self._changed = changed

    def chosen(self, names: Iterable[str]) -> list[str]:
        """These parts, groups resolved, in the order they start.

        Raises:
            Misused: there is no such part.
        """
        wanted: set[str] = set()
        for name in names:
            for member in GROUPS.get(name, (name,)):
                if member in self.children:
                    wanted.add(member)
                elif member not in INFRASTRUCTURE:
                    known = ", ".join((*GROUPS, *self.children))
                    raise Misused(f"There is no part {name}. Parts: {known}.")
        return [name for name in self.children if name in wanted]

    def with_needs(self, names: Iterable[str]) -> list[str]:
        """These parts and all that they need."""
        wanted = set(self.chosen(names))
        for name in tuple(wanted):
            wanted |= self._needs(name)
        return [name for name in self.children if name in wanted]

    def _needs(self, name: str) -> set[str]:
        needs = set(self.children[name].part.after) & set(self.children)
        return needs.union(*(self._needs(earlier) for earlier in needs))

    async def start(self, names: Iterable[str]) -> None:
        """Start parts and what they need; returns when all are up or there is no hope."""
        chosen = [self.children[name] for name in self.with_needs(names)]
        for child in chosen:
            if child.is_given_up and (child.task is None or child.task.done()):
                child.has_been_ready = False
                self._set(child, "waiting")
                child.task = asyncio.create_task(self._keep(child))
        while not all(child.is_up or child.is_given_up for child in chosen):
            if self.stopping.is_set():
                return
            await asyncio.sleep(0.02)

    def _set(self, child: Child, state: str, problem: str = "") -> None:
        child.state, child.problem = state, problem
        self._changed(child)

    async def _keep(self, child: Child) -> None:
        for earlier in child.part.after:
            if not await self._comes_up(earlier):
                self._set(child, "failed", f"needs {earlier}")
                return
        try:
            if isinstance(child.part, Step):
                await self._do(child, child.part)
            else:
                await self._run(child, child.part)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user sees it
            self._set(child, "failed", str(error) or type(error).__name__)

    async def _comes_up(self, name: str) -> bool:
        """Wait for a part until it is up, or not to be waited for; one that is not ours is up."""
        needed = self.children.get(name)
        while needed is not None and not needed.is_up:
            if needed.is_given_up:
                return False
            await asyncio.sleep(0.02)
        return True

    async def _do(self, child: Child, step: Step) -> None:
        self._set(child, "starting")
        began = time.monotonic()
        for left in reversed(range(TRIES)):
            try:
                await step.do()
                break
            except Exception:
                if not left:
                    raise
                await asyncio.sleep(FIRST_BACKOFF_SECONDS)
        child.ready_seconds = time.monotonic() - began
        self._set(child, "done")

    async def _run(self, child: Child, process: Process) -> None:
        backoff, deaths = FIRST_BACKOFF_SECONDS, 0
        while True:
            child.running = await self._spawn(child, process)
            code = await self._watch(child, process, child.running)
            child.running, child.ready_seconds = None, None
            deaths += 1
            if deaths == TRIES and not child.has_been_ready:
                raise RuntimeError(f"ended {TRIES} times before it was ready, with {code}")
            child.restarts += 1
            if time.monotonic() - child.started_at > STEADY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            self._set(child, "restarting", f"ended with {code}")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    async def _spawn(self, child: Child, process: Process) -> Running:
        self._set(child, "starting")
        command = await asyncio.to_thread(process.command)
        if process.module:
            # All services at once, each with its imports, would take longer than the next zygote.
            await self._comes_up(ZYGOTE)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **process.environment}
        log = self.home.logs / f"{process.name}.log"
        child.started_at = time.monotonic()
        if process.module:
            # Without a zygote it starts as any other process does.
            with contextlib.suppress(OSError):
                return await Fork.make(
                    self.home.socket(ZYGOTE),
                    Request(
                        process.module,
                        environment,
                        str(process.folder),
                        str(log),
                        process.stop_signal,
                    ),
                )
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=process.folder,
                process_group=0,
                preexec_fn=_dies_with_parent(process.stop_signal),
            )

    async def _watch(self, child: Child, process: Process, running: Running) -> int:
        """Note when it is ready; returns its exit code."""
        exited = asyncio.create_task(running.wait())
        try:
            while not exited.done() and not await process.is_ready():
                age = time.monotonic() - child.started_at
                if age > READY_WITHIN_SECONDS and not child.problem:
                    self._set(child, "starting", f"not ready within {READY_WITHIN_SECONDS} s")
                await asyncio.wait({exited}, timeout=PROBE_SECONDS)
            if not exited.done():
                child.ready_seconds = time.monotonic() - child.started_at
                child.has_been_ready = True
                self._set(child, "ready")
            return await exited
        finally:
            exited.cancel()

    async def stop(self, names: Iterable[str], *, kill: bool = False) -> None:
        """End parts (each by its own stop signal, after 10 s by SIGKILL) and keep them down.

        Raises:
            Misused: there is no such part, or it is a server of one's own.
        """
        for name in names:
            if name in INFRASTRUCTURE and name not in self.children:
                raise Misused(f"{name} is a server of your own; this stack did not start it.")
        await asyncio.gather(*(self._stop(self.children[n], kill) for n in self.chosen(names)))

    async def _stop(self, child: Child, kill: bool) -> None:
        if child.task is not None:
            child.task.cancel()
            await asyncio.wait({child.task})
        running, child.running, child.ready_seconds = child.running, None, None
        if running is not None and running.returncode is None:
            assert isinstance(child.part, Process)
            self._signal(running.pid, signal.SIGKILL if kill else child.part.stop_signal)
            try:
                await asyncio.wait_for(running.wait(), STOP_WITHIN_SECONDS)
            except TimeoutError:
                self._signal(running.pid, signal.SIGKILL)
                await running.wait()
        self._set(child, "stopped")

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        # PostgreSQL ends its own children in good order; a SIGKILL must reach the whole group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number) if number is signal.SIGKILL else os.kill(pid, number)

    async def stop_all(self) -> None:
        """End everything; what others need goes after them."""
        self.stopping.set()
        left = {name for name, child in self.children.items() if child.task is not None}
        while left:
            needed = set().union(*(self._needs(name) for name in left))
            await self.stop(left - needed)
            left &= needed

    def status(self) -> list[dict[str, Any]]:
        """One row per process, and per step that failed."""
        return [
            self._row(child)
            for child in self.children.values()
            if isinstance(child.part, Process) or child.state == "failed"
        ]

    def rows(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """One row per part named, and per part that those need."""
        return [self._row(self.children[name]) for name in self.with_needs(names)]

    def _row(self, child: Child) -> dict[str, Any]:
        pid = child.running.pid if child.running is not None else None
        pids = {each.running.pid for each in self.children.values() if each.running}
        ports = self.home.ports
        return {
            "name": child.part.name,
            "state": child.state,
            "pid": pid,
            "port": ports.get(child.part.name) or ports.get(f"{child.part.name}_ops"),
            "uptime_seconds": round(time.monotonic() - child.started_at, 1) if pid else None,
            "restarts": child.restarts,
            "rss_mib": memory.resident_mib(pid, pids - {pid}) if pid else None,
            "ready_seconds": None if child.ready_seconds is None else round(child.ready_seconds, 2),
            "problem": child.problem,
        }
