"""What the zygote forks is what `python -m` would have started, and ends with who asked for it."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from deploy.local.tests.conftest import Build, always, assert_gone

from bloxtr8.home import Home
from bloxtr8.parts import LIBRARIES, ZYGOTE, Process
from bloxtr8.probes import listens
from bloxtr8.supervisor import Supervisor
from bloxtr8.zygote import Fork, Request

WITHIN_SECONDS = 30
DESCRIBE = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "group": os.getpgid(0),
    "main": sys.modules["__main__"].__file__,
    "loaded": "decimal" in sys.modules,
    "files": [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)],
    "others": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 64)
               if os.path.exists(f"/proc/self/fd/{fd}")],
}), flush=True)
"""
STAY = "import time\nprint('here', flush=True)\ntime.sleep(60)\n"
DRAW = """
import ssl, sys
from uuid_utils.compat import uuid7
print(ssl.RAND_bytes(8).hex(), str(uuid7())[14:])
ours = {"shared", "identity", "listings", "contracts", "escrow"}
print(sorted(name for name in sys.modules if name.partition(".")[0] in ours))
"""


class Zygote:
    """A zygote, and the folder that its forks find modules in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = folder / "zygote.sock"
        self.log = folder / "forks.log"
        self.request = Request("probe", {"OWN": "1"}, str(folder), str(self.log), signal.SIGTERM)
        self.is_ready = listens(self.address)
        self.process: asyncio.subprocess.Process

    async def start(self, *libraries: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bloxtr8.zygote", str(self.address), *libraries),
            env={**os.environ, "PYTHONPATH": str(self.folder), "ONLY_THE_ZYGOTES": "1"},
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await self.is_ready():
                await asyncio.sleep(0.01)

    def write(self, text: str) -> None:
        (self.folder / "probe.py").write_text(text)

    async def fork(self, text: str) -> Fork:
        """Have this text run as a module."""
        self.write(text)
        return await Fork.make(self.address, self.request)

    async def ask(self, request: Request) -> tuple[psutil.Process, asyncio.StreamWriter]:
        """A fork that is held by nothing but the line that has asked for it."""
        answers, line = await asyncio.open_unix_connection(self.address)
        line.write(json.dumps(asdict(request)).encode() + b"\n")
        return psutil.Process(int(await answers.readline())), line

    async def end(self) -> str:
        """Kill it; returns what it has said."""
        self.process.kill()
        _, said = await self.process.communicate()
        return said.decode()

    async def said(self, words: str) -> None:
        async with asyncio.timeout(WITHIN_SECONDS):
            while not self.log.exists() or words not in self.log.read_text():
                await asyncio.sleep(0.01)


@pytest.fixture(params=[("decimal",)], ids=["decimal"])
async def zygote(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Zygote]:
    made = Zygote(tmp_path)
    await made.start(*request.param)
    yield made
    if made.process.returncode is None:
        await made.end()


async def test_a_fork_is_what_was_asked_for(zygote: Zygote) -> None:
    zygote.log.write_text("before\n")
    neighbour = await zygote.fork(STAY)
    await zygote.said("here")
    fork = await zygote.fork(DESCRIBE)
    assert await fork.wait() == 0
    before, here, described = zygote.log.read_text().splitlines()
    told: dict[str, Any] = json.loads(described)
    assert (before, here) == ("before", "here")
    assert told == {
        "argv": [str(zygote.folder / "probe.py")],
        "environment": {"OWN": "1"},
        "folder": str(zygote.folder),
        "group": fork.pid,
        "main": str(zygote.folder / "probe.py"),
        "loaded": True,
        "files": [str(zygote.log)] * 2,
        "others": [],
    }
    assert neighbour.returncode is None


@pytest.mark.parametrize("zygote", [LIBRARIES], indirect=True, ids=["services"])
async def test_what_services_share_holds_no_thread_no_chance_and_nothing_of_ours(
    zygote: Zygote,
) -> None:
    assert psutil.Process(zygote.process.pid).num_threads() == 1
    for _ in range(2):
        assert await (await zygote.fork(DRAW)).wait() == 0
    first, nothing_of_ours, second, _ = zygote.log.read_text().splitlines()
    assert not set(first.split()) & set(second.split())
    assert nothing_of_ours == "[]"
    assert await zygote.end() == ""


@pytest.mark.parametrize("zygote", [("no_such_library", "decimal")], indirect=True, ids=["missing"])
async def test_a_library_that_is_missing_is_left_to_who_needs_it(zygote: Zygote) -> None:
    fork = await zygote.fork("import sys; print('decimal' in sys.modules)")
    assert (await fork.wait(), zygote.log.read_text()) == (0, "True\n")
    assert (await zygote.end()).startswith("no_such_library cannot be loaded\n")


async def test_only_the_owner_can_ask(zygote: Zygote) -> None:
    assert stat.S_IMODE(zygote.address.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "code", "last_words"),
    [
        ("raise SystemExit(7)", 7, []),
        ("1 / 0", 1, ["ZeroDivisionError: division by zero"]),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, []),
        ("import atexit; atexit.register(print, 'goodbye')", 0, ["goodbye"]),
    ],
)
async def test_how_a_fork_ended_is_told(
    zygote: Zygote, text: str, code: int, last_words: list[str]
) -> None:
    fork = await zygote.fork(text)
    assert (await fork.wait(), fork.returncode) == (code, code)
    assert zygote.log.read_text().splitlines()[-1:] == last_words
    assert not psutil.pid_exists(fork.pid)


async def test_a_fork_is_shown_by_the_name_of_its_module(zygote: Zygote) -> None:
    fork = await zygote.fork(STAY)
    await zygote.said("here")
    process = psutil.Process(fork.pid)
    assert process.name() == "probe"
    assert " ".join(process.cmdline()).strip() == f"{sys.executable} -m probe"


async def test_who_asks_for_nothing_holds_up_nobody(zygote: Zygote) -> None:
    _, line = await asyncio.open_unix_connection(zygote.address)
    line.write(b'{"module": "pro')
    fork = await zygote.fork("print('here')")
    assert (await fork.wait(), zygote.log.read_text()) == (0, "here\n")
    line.close()


async def test_whoever_hangs_up_has_the_fork_killed(zygote: Zygote) -> None:
    zygote.write(STAY)
    process, line = await zygote.ask(zygote.request)
    line.close()
    await line.wait_closed()
    assert_gone([process])
    fork = await zygote.fork("print('others are still born')")
    assert await fork.wait() == 0


async def test_forks_end_with_the_zygote(zygote: Zygote) -> None:
    ignores = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{STAY}"
    fork = await zygote.fork(ignores)
    await zygote.said("here")
    process = psutil.Process(fork.pid)
    await zygote.end()
    assert await fork.wait() == -signal.SIGKILL
    assert_gone([process])
    assert not await zygote.is_ready()
    with pytest.raises(ConnectionRefusedError):
        await zygote.fork(STAY)


async def test_a_fork_that_is_just_made_ends_with_the_zygote_too(zygote: Zygote) -> None:
    zygote.write(STAY)
    slow_to_read = replace(zygote.request, environment={"LONG": "\n" * 5_000_000})
    process, line = await zygote.ask(slow_to_read)
    zygote.process.kill()
    assert_gone([process])
    line.close()


async def comes_up(supervisor: Supervisor, name: str, restarts: int) -> psutil.Process:
    child = supervisor.children[name]
    async with asyncio.timeout(WITHIN_SECONDS):
        while child.restarts < restarts or child.state != "ready" or child.running is None:
            await asyncio.sleep(0.01)
    return psutil.Process(child.running.pid)


@pytest.fixture
async def supervisor(tmp_path: Path, build: Build) -> Supervisor:
    """Of a zygote and a service."""
    (tmp_path / "probe.py").write_text(STAY)
    address = Home(tmp_path / "state", {}).socket(ZYGOTE)
    zygote = [sys.executable, "-m", "bloxtr8.zygote", str(address)]
    path = {"PYTHONPATH": str(tmp_path)}
    service = [sys.executable, "-m", "probe"]
    made = build(
        Process(ZYGOTE, lambda: zygote, listens(address), (), environment=path),
        Process("probe", lambda: service, always, (), folder=tmp_path, module="probe"),
    )
    await made.start([ZYGOTE])
    await made.start(["probe"])
    return made


async def test_the_zygotes_memory_is_its_own(supervisor: Supervisor) -> None:
    zygote, service = await comes_up(supervisor, ZYGOTE, 0), await comes_up(supervisor, "probe", 0)
    assert service.parent() == zygote
    rows = {row["name"]: row for row in supervisor.status()}
    assert rows[ZYGOTE]["rss_mib"] == pytest.approx(zygote.memory_info().rss / 2**20, abs=1)


async def test_services_wait_for_a_zygote_that_is_started_again(supervisor: Supervisor) -> None:
    (await comes_up(supervisor, ZYGOTE, 0)).kill()
    service, zygote = await comes_up(supervisor, "probe", 1), await comes_up(supervisor, ZYGOTE, 1)
    assert service.parent() == zygote


async def test_services_start_as_any_process_when_the_zygote_is_stopped(
    supervisor: Supervisor,
) -> None:
    first = await comes_up(supervisor, "probe", 0)
    await supervisor.stop([ZYGOTE])
    assert (await comes_up(supervisor, "probe", 1)).parent() == psutil.Process()
    assert_gone([first])
