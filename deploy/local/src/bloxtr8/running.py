"""Runs the stack: in this process until it is told to stop, or in a background process."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from bloxtr8 import control, environments, kafka, objects, parts, ports, postgres
from bloxtr8.errors import Interrupted, Misused
from bloxtr8.home import SERVICES, Home
from bloxtr8.supervisor import Child, Supervisor

DETACHED_READY_SECONDS = 420
"""A first start may have to fetch Kafka."""
IS_UP = "The stack is up"
_LAST_LINES = 5
_SAY_EVERY_SECONDS = 2


def _describe(home: Home, all_parts: list[parts.Part], *, for_tests: bool) -> dict[str, Any]:
    return {
        "gateway_url": environments.public_url(home),
        "simulators_url": environments.simulators_url(home),
        "kafka_bootstrap_servers": kafka.bootstrap_servers(home),
        "kafka_passwords": {
            name: home.secret(f"kafka_{name}") for name in ("admin", "broker", *SERVICES)
        },
        "administrator_url": postgres.administrator_url(home),
        "role_urls": {role: postgres.role_url(home, role) for role in postgres.ROLES},
        "s3_endpoint_url": objects.endpoint(home),
        "s3_region": objects.REGION,
        "s3_keys": {name: objects.keys(home, name) for name in ("admin", "contracts", "escrow")},
        "ports": home.ports,
        "processes": {
            part.name: {"argv": part.command(), "env": part.environment}
            for part in all_parts
            if isinstance(part, parts.Process) and part.name in parts.GROUPS["services"]
        },
        "for_tests": for_tests,
    }


def _show(console: Console, home: Home, child: Child) -> None:
    name = child.part.name
    if child.is_up:
        console.print(f"  [green]✓[/] {name} [dim]{child.ready_seconds or 0:.1f} s[/]")
    elif child.state == "restarting":
        console.print(f"  [yellow]↻[/] {name} {child.problem}; it is started again")
    elif child.problem:
        console.print(f"  [red]✗[/] {name}: ", end="")
        console.print(child.problem, markup=False, highlight=False)
        log = home.logs / f"{name}.log"
        if child.started_at and log.exists():
            for line in log.read_text(errors="replace").splitlines()[-_LAST_LINES:]:
                console.print(f"      {line}", markup=False, highlight=False, style="dim")


async def supervise(
    home: Home, only: list[str] | None, console: Console, *, for_tests: bool, check_ports: bool
) -> bool:
    """Run the stack until a signal or `down`; returns whether all that was asked for started.

    Raises:
        Misused: a part is unknown, a port is taken, a setting is missing.
    """
    progress = console.status("Starting …")
    said_at = 0.0

    def say(text: str) -> None:
        nonlocal said_at
        if supervisor.stopping.is_set():
            raise Interrupted
        progress.update(text)
        if not console.is_terminal and time.monotonic() > said_at + _SAY_EVERY_SECONDS:
            console.print(f"  {text}")
            said_at = time.monotonic()

    all_parts = parts.everything(home, say, for_tests=for_tests)
    supervisor = Supervisor(home, all_parts, lambda child: _show(console, home, child))
    names = supervisor.with_needs(only or supervisor.children)
    if check_ports:
        taken = (supervisor.children[name].part for name in names)
        needed = [port for part in taken if isinstance(part, parts.Process) for port in part.ports]
        ports.check(home.ports, needed)
    Home.write_private(
        home.stack_file, json.dumps(_describe(home, all_parts, for_tests=for_tests), indent=1)
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stopping.set)
    answering = asyncio.create_task(control.serve(supervisor))
    began = time.monotonic()
    with progress:
        await supervisor.start(names)
    is_up = all(supervisor.children[name].is_up for name in names)
    if is_up:
        took = time.monotonic() - began
        print(f"{IS_UP} after {took:.1f} s: {environments.public_url(home)}", flush=True)  # noqa: T201 - read by whoever waits
        await supervisor.stopping.wait()
    elif not supervisor.stopping.is_set():
        console.print(f"Not everything started. All logs: {home.logs}", soft_wrap=True)
    with console.status("Stopping …"):
        await supervisor.stop_all()
    home.socket(parts.ZYGOTE).unlink(missing_ok=True)
    await answering
    return is_up


def start_detached(home: Home, arguments: list[str], console: Console) -> int:
    """Run `bloxtr8` with these arguments in the background until all is ready, showing its words.

    Returns:
        0, or the exit code of a start that failed; then nothing runs.
    """
    log = home.logs / "supervisor.log"
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - this same program
            [sys.executable, "-m", "bloxtr8.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        return _wait_until_up(child, log, console)
    except BaseException:
        child.terminate()
        child.wait()
        raise


def _wait_until_up(child: subprocess.Popen[bytes], log: Path, console: Console) -> int:
    deadline = time.monotonic() + DETACHED_READY_SECONDS
    with log.open() as said:
        begun = ""
        while True:
            has_ended = child.poll() is not None
            *lines, begun = (begun + said.read()).split("\n")
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
                if line.startswith(IS_UP):
                    return 0
            if has_ended:
                return child.returncode or 1
            if time.monotonic() > deadline:
                raise Misused(f"Not ready within {DETACHED_READY_SECONDS} s; see {log}")
            time.sleep(0.05)
