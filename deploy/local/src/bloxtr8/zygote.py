"""Forks the services from a process that has loaded their libraries: most of a start is imports.

Who connects to the zygote's socket asks for one process. The request is a line of JSON; the answers
are a line with its pid and, at its end, one with its exit code; whoever hangs up has it killed. The
zygote loads no code of the services, so that one started anew runs what then lies on disk. Why:
docs/decisions/0010.
"""

import asyncio
import contextlib
import ctypes
import gc
import importlib
import io
import json
import logging
import os
import runpy
import selectors
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from setproctitle import setproctitle, setthreadtitle

from bloxtr8 import sockets

ASKS_WITHIN_SECONDS = 1
"""Whoever has connected and says nothing must not hold up the others."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


def die_with_parent(parent: int, number: int) -> None:
    """Let the kernel send this process a signal when its parent ends (Linux only)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before: the signal would never come
        os._exit(1)


@dataclass(frozen=True)
class Request:
    """What a fork is to become."""

    module: str
    """Run as `python -m` would, from the zygote's folder and with its hash seed."""
    environment: dict[str, str]
    """All of it."""
    folder: str
    log: str
    """Its output is appended to this file."""
    parting_signal: int
    """What it gets when the zygote ends; when the asker hangs up, it is killed."""


class Fork:
    """A forked process, with what the supervisor uses of an asyncio.subprocess.Process."""

    def __init__(self, pid: int, answers: asyncio.StreamReader, line: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._line = line
        self._ending = asyncio.create_task(self._end(answers))

    @classmethod
    async def make(cls, address: Path, request: Request) -> "Fork":
        """Raises OSError when no zygote answers."""
        answers, line = await asyncio.open_unix_connection(address)
        with contextlib.ExitStack() as hanging_up:
            hanging_up.callback(line.close)
            line.write(json.dumps(asdict(request)).encode() + b"\n")
            pid = await answers.readline()
            if not pid:
                raise ConnectionResetError("The zygote ended.")
            hanging_up.pop_all()
        return cls(int(pid), answers, line)

    @property
    def returncode(self) -> int | None:
        return self._ending.result() if self._ending.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ending)

    async def _end(self, answers: asyncio.StreamReader) -> int:
        try:
            code = await answers.readline()
        except ConnectionError:
            code = b""
        self._line.close()
        if code:
            return int(code)
        # Nobody will tell when it has finished its work, and its successor needs its port.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return -signal.SIGKILL


@dataclass(frozen=True, eq=False)
class _Born:
    """What the zygote knows of a fork."""

    pid: int
    line: socket.socket
    """To the one who asked for it; readable when that one has hung up."""
    ended: io.FileIO
    """Its pidfd; readable when it has ended."""

    def close(self) -> None:
        self.line.close()
        self.ended.close()


def _serve(address: Path) -> Request:
    """Fork and bury; returns in each fork, with what it is to become."""
    listener = sockets.private(address)
    listener.listen()
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    forks: set[_Born] = set()
    while True:
        key, _ = waiting.select()[0]
        born: _Born | None = key.data
        if born is None:
            line, _ = listener.accept()
            asked = _read(line)
            pid = _fork() if asked else None
            if pid is None:
                line.close()
                continue
            if pid == 0:
                for other in forks:
                    other.close()
                line.close()
                listener.close()
                waiting.close()
                return Request(**json.loads(asked))
            os.setpgid(pid, pid)  # as the fork does itself: whoever is first
            born = _Born(pid, line, io.FileIO(os.pidfd_open(pid)))
            forks.add(born)
            waiting.register(born.line, selectors.EVENT_READ, born)
            waiting.register(born.ended, selectors.EVENT_READ, born)
            _say(born, pid)
        elif key.fileobj is born.line:
            waiting.unregister(born.line)
            os.killpg(born.pid, signal.SIGKILL)
        else:
            waiting.unregister(born.ended)
            with contextlib.suppress(KeyError):
                waiting.unregister(born.line)
            _, status = os.waitpid(born.pid, 0)
            _say(born, os.waitstatus_to_exitcode(status))
            born.close()
            forks.remove(born)


def _read(line: socket.socket) -> str:
    """The request; empty when it was only asked whether somebody listens."""
    line.settimeout(ASKS_WITHIN_SECONDS)
    try:
        asked = line.makefile().readline()
    except OSError:
        return ""
    return asked if asked.endswith("\n") else ""


def _fork() -> int | None:
    """As os.fork; None when no process can be made, which must not end the others."""
    try:
        return os.fork()
    except OSError:
        log.exception("No process could be made")
        return None


def _say(born: _Born, number: int) -> None:
    with contextlib.suppress(ConnectionError):
        born.line.sendall(b"%d\n" % number)


def _become(request: Request, zygote: int) -> None:
    os.setpgid(0, 0)
    die_with_parent(zygote, request.parting_signal)
    setproctitle(f"{sys.executable} -m {request.module}")
    setthreadtitle(request.module)  # what says who has a port
    with Path(request.log).open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    del sys.argv[1:]
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


def _main() -> None:
    address, *libraries = sys.argv[1:]
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError:  # the service that needs it will say so
            log.exception("%s cannot be loaded", library)
    gc.collect()
    # A fork shares what it only reads; marking what has been loaded would copy it.
    gc.freeze()
    zygote = os.getpid()
    _become(_serve(Path(address)), zygote)


if __name__ == "__main__":
    _main()
