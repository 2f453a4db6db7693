"""Starting, watching, losing and stopping the stack, by its command."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from deploy.local.tests.conftest import WITHIN_SECONDS, Stack, assert_gone

from bloxtr8.control import ask
from bloxtr8.home import Home
from bloxtr8.parts import ZYGOTE
from bloxtr8.ports import DEFAULT_PORTS
from bloxtr8.postgres import data_folder


def query(url: str, statement: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def in_database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


def test_one_life_of_a_stack(stack: Stack) -> None:
    stack.up("postgres,simulators")
    parent_mode = stat.S_IMODE(stack.folder.parent.stat().st_mode)

    rows = stack.rows()
    assert [row["name"] for row in json.loads(stack.run("status", "--json").stdout)] == [*rows]
    running = {name for name, row in rows.items() if row["state"] == "ready"}
    assert running == {"postgres", "simulators"}
    assert {row["state"] for name, row in rows.items() if name not in running} == {"stopped"}
    assert rows["simulators"]["rss_mib"] > 10
    assert 0 < rows["simulators"]["ready_seconds"] < WITHIN_SECONDS
    assert re.search(r"^postgres +ready +\d+", stack.run("status").stdout, re.MULTILINE)

    again = stack.run("up")
    assert (again.returncode, again.stdout.splitlines()[0]) == (
        0,
        f"The stack is already up: {stack.described()['gateway_url']}",
    )

    first_pid = rows["simulators"]["pid"]
    os.kill(first_pid, signal.SIGKILL)
    stack.wait_until_said("simulators ended with -9; it is started again")
    deadline = time.monotonic() + WITHIN_SECONDS
    while (row := stack.rows()["simulators"])["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert row["restarts"] == 1
    assert row["pid"] != first_pid

    assert stack.run("stop", "simulators").returncode == 0
    stopped = stack.rows()["simulators"]
    assert (stopped["state"], stopped["pid"]) == ("stopped", None)
    assert stack.run("start", "simulators").returncode == 0
    assert stack.rows()["simulators"]["state"] == "ready"

    unknown = stack.run("stop", "nonsense")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("bloxtr8: There is no part nonsense. Parts: infrastructure,")

    before = stack.described()["administrator_url"]
    query(in_database(before, "postgres"), "CREATE DATABASE kept")
    family = stack.family()
    assert len(family) >= 3
    assert stack.interrupt() == 0
    assert_gone(family)
    assert stack.run("status").returncode == 2

    detached = stack.run("up", "--detach", "--free-ports", "--only", "postgres")
    assert detached.returncode == 0, detached.stderr
    after = stack.described()["administrator_url"]
    assert before.split("@")[0] == after.split("@")[0]
    assert query(in_database(after, "kept"), "SELECT current_database()") == "kept"
    server = psutil.Process(stack.rows()["postgres"]["pid"])
    supervisor = server.parent()
    assert supervisor is not None
    family = supervisor.children(recursive=True)
    assert stack.run("down").stdout == "The stack is down.\n"
    assert_gone(family, within_seconds=0)
    assert_gone([supervisor], within_seconds=1)

    data = data_folder(Home(stack.folder, {}))
    assert data.exists()
    wiped = stack.run("down", "--wipe")
    assert wiped.stdout.splitlines()[0] == "The stack is not up."
    assert not stack.folder.exists()
    assert not data.exists()
    assert stat.S_IMODE(stack.folder.parent.stat().st_mode) == parent_mode


def test_secrets_are_their_owners_alone(stack: Stack) -> None:
    stack.up("simulators")
    for name in ("secrets.json", "stack.json", "control.sock", "seal/seal.p12"):
        file = stack.folder / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, name
        assert file.stat().st_uid == os.getuid()
    kept = (stack.folder / "secrets.json").read_text()
    passwords = set(re.findall(r'"(dev-[0-9a-f]+)"', kept))
    assert len(passwords) >= 20
    for file in stack.folder.rglob("*"):
        if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            said = file.read_bytes().decode(errors="replace")
            assert not [password for password in passwords if password in said], file


def test_who_waits_until_the_stack_is_down_finds_no_process(stack: Stack) -> None:
    stack.up("listings.api")
    assert stack.supervisor is not None
    supervisor, family = psutil.Process(stack.supervisor.pid), stack.family()
    home = Home(stack.folder, {})
    ask(home, "down")
    home.wait_until_down()
    assert_gone(family, within_seconds=0)
    # The kernel closes the files of an ending process, its lock too, and only then calls it ended.
    assert_gone([supervisor], within_seconds=1)
    assert not home.control.exists()
    assert not home.socket(ZYGOTE).exists()


def test_a_folder_that_another_one_holds_is_left_alone(stack: Stack) -> None:
    home = Home(stack.folder, {})
    home.prepare()
    lock = home.hold()
    for command in (("up", "--free-ports", "--only", "postgres"), ("down", "--wipe")):
        refused = stack.run(*command)
        assert refused.returncode == 2, command
        assert "Another start or stop is at work" in refused.stderr
    assert (stack.folder / "lock").exists()
    os.close(lock)


def test_a_killed_supervisor_leaves_no_process_and_no_obstacle(stack: Stack) -> None:
    stack.up("listings.api,simulators")
    family = stack.family()
    zygote, service = (stack.rows()[name]["pid"] for name in ("zygote", "listings.api"))
    assert psutil.Process(service).ppid() == zygote
    assert stack.supervisor is not None
    stack.supervisor.kill()
    stack.supervisor.wait()
    assert_gone(family)
    stack.up("postgres")
    assert stack.rows()["postgres"]["state"] == "ready"


def test_a_port_in_use_is_named_with_its_holder(stack: Stack) -> None:
    port = DEFAULT_PORTS["simulators"]
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        refused = stack.run("up", "--only", "simulators")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"bloxtr8: Port {port} (simulators) is in use by {psutil.Process().name()} "
        f"(pid {os.getpid()}). Stop that process, or start with --free-ports.\n"
    )
    assert not stack.folder.joinpath("stack.json").exists()


def test_a_folder_with_other_things_is_left_alone(stack: Stack) -> None:
    stack.folder.mkdir(mode=0o750)
    letter = stack.folder / "letter.txt"
    letter.write_text("dear")
    refused = stack.run("up", "--only", "postgres")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"bloxtr8: {stack.folder} is not empty. Name a new folder with --state.\n"
    )
    assert stack.run("down", "--wipe").returncode == 0
    assert list(stack.folder.iterdir()) == [letter]
    assert letter.read_text() == "dear"
    assert stat.S_IMODE(stack.folder.stat().st_mode) == 0o750


def test_a_server_of_ones_own_is_used_and_not_started(stack: Stack, tmp_path: Path) -> None:
    stack.up("postgres")
    own = in_database(stack.described()["administrator_url"], "postgres")
    other = Stack(tmp_path / "other")
    started = other.run(
        *("up", "--detach", "--free-ports", "--only", "migrations"), DATABASE_URL=own
    )
    try:
        assert started.returncode == 0, started.stderr
        assert "postgres" not in other.rows()
        url = other.described()["role_urls"]["escrow_app"]
        assert query(url, "SELECT count(*) FROM outbox") == 0
        refused = other.run("stop", "postgres")
        assert refused.returncode == 2
        assert "postgres is a server of your own" in refused.stderr
    finally:
        other.run("down", "--wipe")
    assert stack.rows()["postgres"]["state"] == "ready"


def test_a_missing_key_for_a_server_of_ones_own_is_named(stack: Stack) -> None:
    refused = stack.run("up", "--only", "bucket", S3_ENDPOINT_URL="http://127.0.0.1:1")
    assert refused.returncode == 2
    assert refused.stderr == "bloxtr8: S3_ENDPOINT_URL is set, so S3_ACCESS_KEY is needed.\n"
