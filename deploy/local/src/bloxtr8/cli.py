"""`bloxtr8`: the stack and what operators do with it."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bloxtr8 import demo as demonstration
from bloxtr8 import kafka, objects, parts, postgres
from bloxtr8.home import DEFAULT_PORTS, SERVICES, Home, Misused, open_home
from bloxtr8.supervisor import Child, Control, Supervisor, ask

DETACHED_READY_SECONDS = 420
"""A first start may have to fetch Kafka."""

app = typer.Typer(
    help="Start, watch and stop the whole Bloxtr8 stack on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)
out = Console()

StateOption = Annotated[
    Path | None, typer.Option("--state", help="State folder; default .bloxtr8 in the checkout.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print for machines.")]


def _is_up(home: Home) -> bool:
    try:
        asyncio.run(ask(home, "status"))
    except OSError:
        return False
    return True


def _describe(home: Home, all_parts: list[parts.Part], *, for_tests: bool) -> dict[str, Any]:
    return {
        "gateway_url": parts.public_url(home),
        "simulators_url": parts.simulators_url(home),
        "kafka_bootstrap_servers": kafka.bootstrap_servers(home),
        "kafka_passwords": {
            name: home.secret(f"kafka_{name}") for name in ("admin", "broker", *SERVICES)
        },
        "administrator_url": postgres.administrator_url(home),
        "role_urls": {
            role: postgres.role_url(home, role)
            for role in (f"{service}_{kind}" for service in SERVICES for kind in ("owner", "app"))
        },
        "s3_endpoint_url": objects.endpoint(home),
        "s3_region": objects.REGION,
        "s3_keys": {name: objects.keys(home, name) for name in ("admin", "contracts", "escrow")},
        "ports": home.ports,
        "processes": {
            part.name: {"argv": part.command(), "env": part.environment}
            for part in all_parts
            if isinstance(part, parts.Process) and part.name.partition(".")[0] in SERVICES
        },
        "for_tests": for_tests,
    }


def _show_change(child: Child) -> None:
    name = child.part.name
    match child.state:
        case "ready" | "done":
            console.print(f"  [green]✓[/] {name} [dim]{child.ready_seconds or 0:.1f} s[/]")
        case "restarting":
            console.print(f"  [yellow]↻[/] {name}: {child.problem}; see its log")
        case "failed":
            console.print(f"  [red]✗[/] {name}: {child.problem}")


async def _supervise(home: Home, only: list[str] | None, *, for_tests: bool) -> int:
    progress = console.status("Starting …")

    def say(text: str) -> None:
        progress.update(text)
        if not console.is_terminal:
            console.print(f"  {text}")

    all_parts = parts.everything(home, say, for_tests=for_tests)
    supervisor = Supervisor(home, all_parts, _show_change)
    if only:
        supervisor.select(only)
    Home.write_private(
        home.stack_file, json.dumps(_describe(home, all_parts, for_tests=for_tests), indent=1)
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stopping.set)
    control = asyncio.create_task(Control(supervisor).serve())
    began = time.monotonic()
    with progress:
        await supervisor.start()
    failed = [child for child in supervisor.children.values() if child.state == "failed"]
    if failed or supervisor.stopping.is_set():
        console.print("Not everything started. The logs are in", str(home.logs))
    else:
        took = time.monotonic() - began
        console.print(f"The stack is up after {took:.1f} s: {parts.public_url(home)}")
        await supervisor.stopping.wait()
    with console.status("Stopping …"):
        await supervisor.stop_all()
    await control
    return 1 if failed else 0


@app.command()
def up(
    *,
    state: StateOption = None,
    detach: Annotated[bool, typer.Option(help="Return when all is ready.")] = False,
    only: Annotated[
        str | None, typer.Option(help="Comma list of parts; what they need comes along.")
    ] = None,
    free_ports: Annotated[bool, typer.Option(help="Take ports that are free now.")] = False,
    for_tests: Annotated[bool, typer.Option(help="Replace killed consumers quickly.")] = False,
) -> None:
    """Start the stack; Ctrl-C stops it and leaves no process."""
    home = open_home(state, free_ports=free_ports)
    home.prepare()
    if _is_up(home):
        out.print(f"The stack is already up: {home.description()['gateway_url']}")
        return
    if detach:
        raise typer.Exit(_start_detached(home, sys.argv[1:]))
    try:
        with home.locked():
            if not free_ports:
                home.check_ports(list(DEFAULT_PORTS))
            chosen = only.split(",") if only else None
            code = asyncio.run(_supervise(home, chosen, for_tests=for_tests))
    except BlockingIOError:
        raise Misused(f"Another start or stop is at work in {home.path}. Wait for it.") from None
    except KeyError as error:
        raise Misused(f"There is no part named {error}. `bloxtr8 status` names them.") from None
    raise typer.Exit(code)


def _start_detached(home: Home, arguments: list[str]) -> int:
    """Run `up` in the background and wait until all is ready, showing what it shows."""
    log = home.logs / "supervisor.log"
    command = [sys.executable, "-m", "bloxtr8.cli", *(a for a in arguments if a != "--detach")]
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - this same program
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + DETACHED_READY_SECONDS
    with log.open() as said:
        while time.monotonic() < deadline:
            for line in said:
                console.print(line.rstrip("\n"), markup=False, highlight=False)
                if line.startswith("The stack is up"):
                    return 0
            if child.poll() is not None:
                return child.returncode or 1
            time.sleep(0.05)
    console.print(f"Not ready within {DETACHED_READY_SECONDS} s; see {log}")
    return 1


@app.command()
def down(
    *,
    state: StateOption = None,
    wipe: Annotated[bool, typer.Option(help="Remove all data, passwords and logs too.")] = False,
) -> None:
    """Stop the stack; its data stays unless wiped."""
    home = open_home(state)
    if _is_up(home):
        asyncio.run(ask(home, "down"))
        with console.status("Stopping …"):
            _wait_until_down(home)
        out.print("The stack is down.")
    else:
        out.print("The stack is not up.")
    if wipe and home.path.exists():
        shutil.rmtree(postgres.data_folder(home).parent, ignore_errors=True)
        shutil.rmtree(home.path, ignore_errors=True)
        out.print(f"Removed {home.path}.")


def _wait_until_down(home: Home) -> None:
    while True:
        with contextlib.suppress(BlockingIOError), home.locked():
            return
        time.sleep(0.05)


def _ask_or_exit(home: Home, verb: str, names: list[str]) -> Any:
    try:
        answer = asyncio.run(ask(home, verb, names))
    except OSError:
        raise Misused("The stack is not up. Start it: bloxtr8 up") from None
    if isinstance(answer, dict):
        raise Misused(answer["error"])
    return answer


@app.command()
def status(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show every process: state, memory, restarts, seconds to ready."""
    rows = _ask_or_exit(open_home(state), "status", [])
    if as_json:
        print(json.dumps(rows))  # noqa: T201 - the command's output
        return
    table = Table("process", "state", "pid", "port", "up s", "restarts", "RSS MiB", "ready s", "")
    for row in rows:
        cells = (row[k] for k in ("pid", "port", "uptime_seconds", "restarts", "rss_mib"))
        shown = ["" if cell is None else str(cell) for cell in (*cells, row["ready_seconds"])]
        table.add_row(row["name"], row["state"], *shown, row["problem"])
    out.print(table)


@app.command()
def start(names: list[str], *, state: StateOption = None) -> None:
    """Start parts that were stopped."""
    _ask_or_exit(open_home(state), "start", names)


@app.command()
def stop(names: list[str], *, state: StateOption = None) -> None:
    """Stop parts and keep them down."""
    _ask_or_exit(open_home(state), "stop", names)


@app.command()
def kill(names: list[str], *, state: StateOption = None) -> None:
    """Kill parts (SIGKILL) and keep them down."""
    _ask_or_exit(open_home(state), "kill", names)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="One process; all by default.")] = None,
    *,
    state: StateOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of each.")] = 20,
) -> None:
    """Show the logs."""
    folder = open_home(state).logs
    files = [folder / f"{name}.log"] if name else sorted(folder.glob("*.log"))
    if not files or not files[0].exists():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none yet"
        raise Misused(f"There is no such log. Logs: {known}.")
    for file in files:
        with file.open(errors="replace") as content:
            for line in deque(content, lines):
                out.print(f"{file.stem}: {line}", end="", markup=False, highlight=False)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            subprocess.run(["tail", "-n0", "-F", *map(str, files)], check=False)  # noqa: S603, S607


@app.command()
def migrate(
    *,
    state: StateOption = None,
    database: Annotated[str, typer.Option(help="Another database on the same server.")] = (
        postgres.DATABASE
    ),
) -> None:
    """Bring roles and schemas of the database to the newest revision."""
    home = _running_home(state)

    async def do() -> None:
        await postgres.make_database(home, database)
        await parts.run_migrations(home, database)

    asyncio.run(do())
    out.print(f"Database {database} is at the newest revision.")


@app.command()
def topics(*, state: StateOption = None) -> None:
    """Make Kafka's topics and ACLs as deploy/kafka/topics.toml says."""
    count = kafka.apply_table(_running_home(state))
    out.print(f"{count} topics and their ACLs are as deploy/kafka/topics.toml says.")


def _running_home(state: Path | None) -> Home:
    """The home of a stack with the ports it runs on."""
    home = open_home(state)
    home.ports |= home.description()["ports"]
    return home


@app.command()
def demo(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Carry one trade of $4,500.00 from sign-in to payout."""
    home = open_home(state)
    home.prepare()
    was_up = _is_up(home)
    if not was_up:
        arguments = ["up", *(["--state", str(state)] if state else [])]
        if code := _start_detached(home, arguments):
            raise typer.Exit(code)
    try:
        description = home.description()
        report = asyncio.run(
            demonstration.run(
                description["gateway_url"],
                description["simulators_url"],
                home.folder("documents"),
                console,
            )
        )
    finally:
        if not was_up:
            asyncio.run(ask(home, "down"))
            with console.status("Stopping what was started …"):
                _wait_until_down(home)
    if as_json:
        print(json.dumps(report))  # noqa: T201 - the command's output
    else:
        demonstration.show(report, out)


def main() -> None:
    """Run a command; a misuse exits with 2 and says what to do."""
    try:
        app(standalone_mode=True)
    except Misused as error:
        console.print(f"bloxtr8: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "120")
    main()
