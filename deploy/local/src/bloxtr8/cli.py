"""`bloxtr8`: the stack and what operators do with it.

A command loads only what it needs: asking for the status must not wait for Kafka's client library.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bloxtr8 import templates
from bloxtr8.control import UP_STATES, ask
from bloxtr8.errors import Misused
from bloxtr8.home import SERVICES, Home, open_home

app = typer.Typer(
    help="Start, watch and stop the whole Bloxtr8 stack on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(templates.app, name="templates")
console = Console(stderr=True)
out = Console()

StateOption = Annotated[
    Path | None, typer.Option("--state", help="State folder; default .bloxtr8 in the checkout.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print for machines.")]
Names = Annotated[
    list[str], typer.Argument(help="Parts as `status` names them, or services, infrastructure.")
]


def _rows_if_up(home: Home) -> list[dict[str, Any]] | None:
    try:
        return ask(home, "status")
    except OSError:
        return None


@app.command()
def up(
    *,
    state: StateOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when all is ready.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="These parts and what they need; commas or repeated."),
    ] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Take ports that are free now.")
    ] = False,
    for_tests: Annotated[bool, typer.Option("--for-tests", hidden=True)] = False,
) -> None:
    """Start the stack; Ctrl-C stops it and leaves no process."""
    from bloxtr8 import running  # noqa: PLC0415

    home = open_home(state, any_ports=free_ports)
    home.prepare()
    if (rows := _rows_if_up(home)) is not None:
        out.print(f"The stack is already up: {home.description()['gateway_url']}")
        if missing := ", ".join(row["name"] for row in rows if row["state"] not in UP_STATES):
            out.print(f"Not ready: {missing}. Start parts with: bloxtr8 start NAME")
        return
    if detach:
        arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
        raise typer.Exit(running.start_detached(home, arguments, console))
    names = [name for value in only or () for name in value.split(",")]
    home.hold()
    is_up = asyncio.run(
        running.supervise(home, names, console, for_tests=for_tests, check_ports=not free_ports)
    )
    raise typer.Exit(0 if is_up else 1)


@app.command()
def down(
    *,
    state: StateOption = None,
    wipe: Annotated[
        bool, typer.Option("--wipe", help="Remove all data, passwords and logs too.")
    ] = False,
) -> None:
    """Stop the stack; its data stays unless wiped."""
    from bloxtr8 import postgres  # noqa: PLC0415

    home = open_home(state)
    try:
        ask(home, "down")
    except OSError:
        out.print("The stack is not up.")
    else:
        with console.status("Stopping …"):
            home.wait_until_down()
        out.print("The stack is down.")
    if wipe and home.is_made:
        home.hold()
        postgres.remove(home)
        shutil.rmtree(home.path)
        out.print(f"Removed {home.path}.", soft_wrap=True)


def _ask_running(home: Home, verb: str, names: list[str]) -> list[dict[str, Any]]:
    try:
        return ask(home, verb, names)
    except OSError:
        raise Misused("The stack is not up. Start it: bloxtr8 up") from None


@app.command()
def status(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show every process: state, memory, restarts, seconds to ready."""
    rows = _ask_running(open_home(state), "status", [])
    if as_json:
        print(json.dumps(rows))  # noqa: T201 - the command's output
        return
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("process", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("pid", "port", "up s", "restarts", "RSS MiB", "ready s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    keys = ("pid", "port", "uptime_seconds", "restarts", "rss_mib", "ready_seconds")
    for row in rows:
        shown = ("" if row[key] is None else str(row[key]) for key in keys)
        table.add_row(row["name"], row["state"], *shown, row["problem"])
    out.print(table)


@app.command()
def start(names: Names, *, state: StateOption = None) -> None:
    """Start parts that do not run, and what they need; returns when they are ready."""
    failed = _ask_running(open_home(state), "start", names)
    for row in failed:
        out.print(f"{row['name']} is {row['state']}: {row['problem']}", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def stop(names: Names, *, state: StateOption = None) -> None:
    """Stop parts and keep them down."""
    _ask_running(open_home(state), "stop", names)


@app.command()
def kill(names: Names, *, state: StateOption = None) -> None:
    """Kill parts (SIGKILL) and keep them down."""
    _ask_running(open_home(state), "kill", names)


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
        "bloxtr8"
    ),
    service: Annotated[
        list[str] | None, typer.Option(help="Only this service's schema; may be repeated.")
    ] = None,
) -> None:
    """Bring roles and schemas of the database to the newest revision."""
    from bloxtr8 import postgres  # noqa: PLC0415

    if unknown := set(service or ()) - set(SERVICES):
        raise Misused(f"There is no service {', '.join(unknown)}. Services: {', '.join(SERVICES)}.")
    try:
        asyncio.run(postgres.migrate(_running_home(state), service or SERVICES, database))
    except RuntimeError as error:
        console.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    out.print(f"Database {database} is at the newest revision.")


@app.command()
def topics(*, state: StateOption = None) -> None:
    """Make Kafka's topics and ACLs as deploy/kafka/topics.toml says."""
    from bloxtr8 import kafka  # noqa: PLC0415

    count = kafka.apply_table(_running_home(state))
    out.print(f"{count} topics and their ACLs are as deploy/kafka/topics.toml says.")


@app.command()
def verify(
    *,
    state: StateOption = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all documents and topics too.")
    ] = False,
    database: Annotated[str, typer.Option(help="Another database on the same server.")] = (
        "bloxtr8"
    ),
    as_json: JsonOption = False,
) -> None:
    """Check that nothing was lost, doubled or paid wrongly; exit 1 and the rows that say so."""
    import asyncpg  # noqa: PLC0415
    from confluent_kafka import KafkaException  # noqa: PLC0415

    from bloxtr8 import postgres, verification, verification_deep  # noqa: PLC0415

    home = _running_home(state)
    url = postgres.role_url(home, postgres.AUDITOR, database)
    try:
        with console.status("Checking …") as progress:
            findings = asyncio.run(verification.run(url))
            if deep:
                findings += asyncio.run(
                    verification_deep.run(
                        home, url, lambda what: progress.update(f"Reading the {what} …")
                    )
                )
    except (OSError, asyncpg.PostgresError, KafkaException) as error:
        console.print(f"Nothing is verified: {error}", markup=False, highlight=False)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(verification.as_json(findings)))  # noqa: T201 - the command's output
    else:
        verification.show(findings, out)
    if any(finding.broken_by for finding in findings):
        raise typer.Exit(1)


def _running_home(state: Path | None) -> Home:
    """The home of a stack with the ports it runs on."""
    home = open_home(state)
    _ask_running(home, "status", [])
    home.ports |= home.description()["ports"]
    return home


@app.command()
def demo(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Carry one trade of $4,500.00 from sign-in to payout."""
    from bloxtr8 import demo as demonstration  # noqa: PLC0415
    from bloxtr8 import running  # noqa: PLC0415
    from bloxtr8.trade import Broken  # noqa: PLC0415
    from bloxtr8.trader import Refused  # noqa: PLC0415

    home = open_home(state)
    home.prepare()
    was_up = _rows_if_up(home) is not None
    if not was_up:
        arguments = ["up", *(["--state", str(state)] if state else [])]
        if code := running.start_detached(home, arguments, console):
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
    except demonstration.FAILURES as error:
        console.print(f"The trade stopped: {error}", markup=False, soft_wrap=True)
        console.print(f"The logs are in {home.logs}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except (Broken, Refused, TimeoutError) as error:
        console.print(f"The trade stopped: {error}", markup=False, highlight=False)
        console.print(f"All logs: {home.logs}", soft_wrap=True)
        raise typer.Exit(1) from None
    finally:
        if not was_up:
            ask(home, "down")
            with console.status("Stopping what was started …"):
                home.wait_until_down()
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
