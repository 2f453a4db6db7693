"""What the zygote forks is what `python -m` would have started, and ends with who asked for it."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from deploy.local.tests.conftest import assert_gone

from bloxtr8.home import Home
from bloxtr8.parts import LIBRARIES, ZYGOTE, Process
from bloxtr8.supervisor import Supervisor
from bloxtr8.zygote import Fork, Request, is_ready

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
    "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in range(3) if fd),
    "others": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 64)
               if os.path.exists(f"/proc/self/fd/{fd}")],
}), flush=True)
"""
STAY = "import time\nprint('here', flush=True)\ntime.sleep(60)\n"


DRAW = """
import os, random, ssl, sys
from uuid_utils.compat import uuid7
print(random.random(), ssl.RAND_bytes(8).hex(), str(uuid7())[14:])
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
        self.process: asyncio.subprocess.Process

    async def start(self, *libraries: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bloxtr8.zygote", str(self.address), *libraries),
            env={**os.environ, "PYTHONPATH": str(self.folder), "ONLY_THE_ZYGOTES": "1"},
        )
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await is_ready(self.address):
                await asyncio.sleep(0.01)

    def write(self, text: str) -> None:
        (self.folder / "probe.py").write_text(text)

    async def fork(self, text: str) -> Fork:
        """Have this text run as a module."""
        self.write(text)
        return await Fork.make(self.address, self.request)

    async def said(self, words: str) -> None:
        async with asyncio.timeout(WITHIN_SECONDS):
            while not self.log.exists() or words not in self.log.read_text():
                await asyncio.sleep(0.01)


@pytest.fixture(params=[("decimal",)])
async def zygote(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Zygote]:
    made = Zygote(tmp_path)
    await made.start(*request.param)
    yield made
    if made.process.returncode is None:
        made.process.kill()
    await made.process.wait()


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


async def test_only_the_owner_can_ask(zygote: Zygote) -> None:
    assert stat.S_IMODE(zygote.address.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "code", "log"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("import atexit; atexit.register(print, 'goodbye')", 0, "goodbye\n"),
    ],
)
async def test_how_a_fork_ended_is_told(zygote: Zygote, text: str, code: int, log: str) -> None:
    fork = await zygote.fork(text)
    assert (await fork.wait(), fork.returncode) == (code, code)
    assert zygote.log.read_text().endswith(log)
    assert not psutil.pid_exists(fork.pid)


async def test_a_fork_is_shown_by_the_name_of_its_module(zygote: Zygote) -> None:
    fork = await zygote.fork(STAY)
    await zygote.said("here")
    shown = " ".join(psutil.Process(fork.pid).cmdline()).strip()
    assert shown == f"{sys.executable} -m probe"


async def test_whoever_hangs_up_has_the_fork_killed(zygote: Zygote) -> None:
    zygote.write(STAY)
    answers, line = await asyncio.open_unix_connection(zygote.address)
    line.write(json.dumps(asdict(zygote.request)).encode() + b"\n")
    process = psutil.Process(int(await answers.readline()))
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
    zygote.process.kill()
    assert await fork.wait() == -signal.SIGKILL
    assert_gone([process])
    assert not await is_ready(zygote.address)
    with pytest.raises(ConnectionRefusedError):
        await zygote.fork(STAY)


async def test_a_service_without_a_zygote_starts_as_any_process(tmp_path: Path) -> None:
    async def always() -> bool:
        return True

    home = Home(tmp_path / "state", {})
    home.prepare()
    command = [sys.executable, "-m", "probe"]
    (tmp_path / "probe.py").write_text(STAY)
    service = Process("probe", lambda: command, always, (), folder=tmp_path, module="probe")
    zygote = [sys.executable, "-m", "bloxtr8.zygote", str(home.socket(ZYGOTE))]
    supervisor = Supervisor(
        home,
        [
            Process(
                ZYGOTE,
                lambda: zygote,
                lambda: is_ready(home.socket(ZYGOTE)),
                (),
                environment={"PYTHONPATH": str(tmp_path)},
            ),
            service,
        ],
        lambda _: None,
    )

    async def state_of(name: str, state: str) -> int:
        child = supervisor.children[name]
        async with asyncio.timeout(WITHIN_SECONDS):
            while child.state != state or child.running is None:
                await asyncio.sleep(0.01)
        return child.running.pid

    try:
        await supervisor.start([ZYGOTE])
        await supervisor.start(["probe"])
        mother, first = await state_of(ZYGOTE, "ready"), await state_of("probe", "ready")
        assert psutil.Process(first).ppid() == mother
        rows = {row["name"]: row for row in supervisor.status()}
        alone = psutil.Process(mother).memory_info().rss / 2**20
        assert rows[ZYGOTE]["rss_mib"] == pytest.approx(alone, abs=1)

        await supervisor.stop([ZYGOTE])
        while supervisor.children["probe"].restarts == 0:
            await asyncio.sleep(0.01)
        again = await state_of("probe", "ready")
        assert psutil.Process(again).ppid() == os.getpid()
        assert_gone([psutil.Process(first)] if psutil.pid_exists(first) else [])
    finally:
        await supervisor.stop_all()
