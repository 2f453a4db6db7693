"""Keeps the parts of the stack running: in order, restarted when they die, gone when it stops.

Every child is a process group of its own and dies with the supervisor (PR_SET_PDEATHSIG), so that
even a killed supervisor leaves nothing behind.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psutil

from bloxtr8.home import Home
from bloxtr8.parts import Part, Process, Step

READY_WITHIN_SECONDS = 60
PROBE_SECONDS = 0.1
STOP_WITHIN_SECONDS = 10
STEADY_SECONDS = 30
"""A child that ran this long begins again with the shortest backoff."""
LONGEST_BACKOFF_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_TRIES_OF_A_STEP = 3


@dataclass
class Child:
    """What is known of one part."""

    part: Part
    state: str = "waiting"
    """waiting, starting, ready, restarting, stopped, failed; a step ends as done."""
    running: asyncio.subprocess.Process | None = None
    started_at: float = 0.0
    ready_seconds: float | None = None
    restarts: int = 0
    wanted: bool = True
    task: asyncio.Task[None] | None = None
    problem: str = ""

    @property
    def is_up(self) -> bool:
        return self.state in {"ready", "done"}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Runs parts; `changed` is called whenever one changes its state."""

    def __init__(self, home: Home, parts: list[Part], changed: Callable[[Child], None]) -> None:
        self.home = home
        self.children = {part.name: Child(part) for part in parts}
        self._changed = changed
        self._log_files = home.logs
        self.stopping = asyncio.Event()

    def select(self, names: Iterable[str]) -> None:
        """Leave all but these parts, and what they need, for later.

        Raises:
            KeyError: there is no such part.
        """
        wanted: set[str] = set()

        def need(name: str) -> None:
            if name in self.children and name not in wanted:
                wanted.add(name)
                for earlier in self.children[name].part.after:
                    need(earlier)

        for name in names:
            _ = self.children[name]
            need(name)
        for name, child in self.children.items():
            if name not in wanted:
                child.wanted = False
                self._set(child, "stopped")

    async def start(self, names: Iterable[str] | None = None) -> None:
        """Start parts (all wanted ones by default) and return when they are up or have failed."""
        chosen = [
            child
            for name, child in self.children.items()
            if (child.wanted if names is None else name in set(names))
        ]
        for child in chosen:
            child.wanted = True
            if child.task is None or child.task.done():
                self._set(child, "waiting")
                child.task = asyncio.create_task(self._keep(child))
        while not all(child.is_up or child.state == "failed" for child in chosen):
            if self.stopping.is_set():
                return
            await asyncio.sleep(0.02)

    def _set(self, child: Child, state: str, problem: str = "") -> None:
        child.state, child.problem = state, problem
        self._changed(child)

    async def _keep(self, child: Child) -> None:
        for earlier in child.part.after:
            other = self.children.get(earlier)
            while other is not None and not other.is_up:
                await asyncio.sleep(0.02)
        if isinstance(child.part, Step):
            await self._do(child, child.part)
        else:
            await self._run(child, child.part)

    async def _do(self, child: Child, step: Step) -> None:
        self._set(child, "starting")
        began = time.monotonic()
        for number in range(1, _TRIES_OF_A_STEP + 1):
            try:
                await step.do()
            except Exception as error:  # noqa: BLE001 - shown to the user, tried again
                if number == _TRIES_OF_A_STEP:
                    self._set(child, "failed", str(error))
                    return
                await asyncio.sleep(1)
            else:
                child.ready_seconds = time.monotonic() - began
                self._set(child, "done")
                return

    async def _run(self, child: Child, process: Process) -> None:
        backoff = 0.5
        while child.wanted:
            try:
                await self._spawn(child, process)
            except Exception as error:  # noqa: BLE001 - shown to the user
                self._set(child, "failed", str(error))
                return
            assert child.running is not None
            exited = asyncio.ensure_future(child.running.wait())
            await self._until_ready(child, process, exited)
            code = await exited
            if not child.wanted:
                break
            child.restarts += 1
            if time.monotonic() - child.started_at > STEADY_SECONDS:
                backoff = 0.5
            self._set(child, "restarting", f"exited with {code}")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
        child.running = None
        self._set(child, "stopped")

    async def _spawn(self, child: Child, process: Process) -> None:
        self._set(child, "starting")
        child.ready_seconds = None
        command = await asyncio.to_thread(process.command)
        with (self._log_files / f"{process.name}.log").open("ab") as log:
            child.running = await asyncio.create_subprocess_exec(
                *command,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **process.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=process.folder,
                process_group=0,
                preexec_fn=_die_with_parent,
            )
        child.started_at = time.monotonic()

    async def _until_ready(
        self, child: Child, process: Process, exited: "asyncio.Future[int]"
    ) -> None:
        while not exited.done():
            if await process.is_ready():
                child.ready_seconds = time.monotonic() - child.started_at
                self._set(child, "ready")
                return
            if time.monotonic() - child.started_at > READY_WITHIN_SECONDS and not child.problem:
                self._set(child, "starting", f"not ready within {READY_WITHIN_SECONDS} s")
            await asyncio.wait({exited}, timeout=PROBE_SECONDS)

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End one process (its own stop signal, after 10 s SIGKILL) and keep it down."""
        child = self.children[name]
        child.wanted = False
        running = child.running
        if running is not None and running.returncode is None:
            assert isinstance(child.part, Process)
            self._signal(running.pid, signal.SIGKILL if kill else child.part.stop_signal)
            try:
                await asyncio.wait_for(running.wait(), STOP_WITHIN_SECONDS)
            except TimeoutError:
                self._signal(running.pid, signal.SIGKILL)
                await running.wait()
        if child.task is not None:
            if running is None:
                child.task.cancel()
            await asyncio.wait({child.task})
        self._set(child, "stopped")

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        # PostgreSQL and weed end their own children; a SIGKILL must reach the whole group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number) if number is signal.SIGKILL else os.kill(pid, number)

    async def stop_all(self) -> None:
        """End everything, what was started last first."""
        self.stopping.set()
        left = {name for name, child in self.children.items() if child.task is not None}
        while left:
            # A part may go when nothing that is left needs it.
            last = {
                name
                for name in left
                if not any(name in self._needs(other) for other in left if other != name)
            }
            await asyncio.gather(*(self.stop(name) for name in last))
            left -= last

    def _needs(self, name: str) -> set[str]:
        needs = set(self.children[name].part.after) & set(self.children)
        return needs.union(*(self._needs(earlier) for earlier in needs))

    def status(self) -> list[dict[str, Any]]:
        """One row per process: name, state, pid, port, uptime, restarts, memory, ready time."""
        return [
            self._row(child)
            for child in self.children.values()
            if isinstance(child.part, Process) or child.state == "failed"
        ]

    def _row(self, child: Child) -> dict[str, Any]:
        running = child.running
        pid = running.pid if running is not None and running.returncode is None else None
        ports = self.home.ports
        return {
            "name": child.part.name,
            "state": child.state,
            "pid": pid,
            "port": ports.get(child.part.name) or ports.get(f"{child.part.name}_ops"),
            "uptime_seconds": round(time.monotonic() - child.started_at, 1) if pid else None,
            "restarts": child.restarts,
            "rss_mib": _memory_mib(pid) if pid else None,
            "ready_seconds": None if child.ready_seconds is None else round(child.ready_seconds, 2),
            "problem": child.problem,
        }


def _memory_mib(pid: int) -> float | None:
    """Resident memory of a process and its descendants, MiB."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return round(sum(member.memory_info().rss for member in family) / 2**20, 1)
    except psutil.Error:
        return None


class Control:
    """The socket in the state folder by which other commands reach the supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def serve(self) -> None:
        path = self._supervisor.home.control
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._answer, path)
        finally:
            os.umask(old)
        async with server:
            await self._supervisor.stopping.wait()
        path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        try:
            answer: Any = await self._do(asked["do"], asked.get("names") or [])
        except KeyError as error:
            answer = {"error": f"There is no part named {error}."}
        writer.write(json.dumps(answer).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def _do(self, verb: str, names: list[str]) -> Any:
        supervisor = self._supervisor
        for name in names:
            _ = supervisor.children[name]
        match verb:
            case "start":
                await supervisor.start(names)
            case "stop" | "kill":
                for name in names:
                    await supervisor.stop(name, kill=verb == "kill")
            case "down":
                supervisor.stopping.set()
        return supervisor.status()


async def ask(home: Home, verb: str, names: Iterable[str] = ()) -> Any:
    """Send a command to the running supervisor.

    Raises:
        ConnectionError: none is running.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(home.control)
    except FileNotFoundError as error:
        raise ConnectionRefusedError(str(home.control)) from error
    writer.write(json.dumps({"do": verb, "names": list(names)}).encode() + b"\n")
    answer = json.loads(await reader.readline() or b"[]")
    writer.close()
    return answer
