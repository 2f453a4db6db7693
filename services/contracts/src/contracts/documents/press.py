"""Documents are made, sealed and checked in a process of their own.

It starts with the first task and ends when idle for a while, so that a waiting worker stays small;
leases and heartbeats go on while it works; a document that hurts it hurts nothing else. It lives
no longer than its parent: when the pipe closes, it ends.
"""

import asyncio
import contextlib
import gc
import os
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any

IDLE_SECONDS = 60.0
TASK_WITHIN_SECONDS = 60.0
_LENGTH = struct.Struct("!I")

Answer = tuple[str, Any]
"""`("done", value)`, `("broken", sentence)` for a seal that does not hold, `("failed", error)`."""


class PressFailed(Exception):
    """The task failed, took too long, or killed its process."""


class NotOurSeal(Exception):
    """The file that was checked does not carry our seal unharmed; says why."""


class Press:
    """One process that does one task at a time; `close` it at the end."""

    def __init__(
        self,
        *sealing: str,
        idle_seconds: float = IDLE_SECONDS,
        task_within_seconds: float = TASK_WITHIN_SECONDS,
    ) -> None:
        """`sealing`: what a `Printer` is made of; nothing, to render only."""
        self._sealing = sealing
        self._idle_seconds = idle_seconds
        self._within_seconds = task_within_seconds
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._retiring: asyncio.TimerHandle | None = None

    async def render(self, draft: dict[str, Any], terms: dict[str, Any]) -> bytes:
        """The document of a contract (`Draft`, `Terms` as JSON values)."""
        return bytes(await self._ask("render", draft, terms))

    async def remake(self, picture: bytes) -> bytes:
        """A picture from outside as it may go into a document.

        Raises:
            PressFailed: it is no picture that is taken.
        """
        return bytes(await self._ask("remake", picture))

    async def seal(self, document: bytes, certificate: dict[str, Any]) -> bytes:
        """The document with its certificate (`Certificate` as JSON), sealed and checked."""
        return bytes(await self._ask("seal", document, certificate))

    async def check(self, sealed: bytes) -> dict[str, Any]:
        """The `audit.json` of a file that carries our seal.

        Raises:
            NotOurSeal: it does not, or not unharmed.
        """
        audit: dict[str, Any] = await self._ask("check", sealed)
        return audit

    async def close(self) -> None:
        async with self._lock:
            await self._end()

    async def _ask(self, task: str, *arguments: Any) -> Any:
        async with self._lock:
            try:
                async with asyncio.timeout(self._within_seconds):
                    kind, value = await self._exchange((task, arguments))
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                await self._end()
                raise PressFailed(f"The press did not finish: {type(error).__name__}.") from error
            except BaseException:
                await self._end()  # its answer would be taken for that of the next task
                raise
            self._retire_later()
        if kind == "broken":
            raise NotOurSeal(value)
        if kind == "failed":
            raise PressFailed(value)
        return value

    async def _exchange(self, task: tuple[str, tuple[Any, ...]]) -> Answer:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_frame(task))
        await process.stdin.drain()
        [length] = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
        answer: Answer = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - ours
        return answer

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "contracts.documents.press"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is the worker's to handle
            )
            assert self._process.stdin is not None
            self._process.stdin.write(_frame(self._sealing))
        return self._process

    def _retire_later(self) -> None:
        if self._retiring is not None:
            self._retiring.cancel()
        loop = asyncio.get_running_loop()
        self._retiring = loop.call_later(self._idle_seconds, self._retire)

    def _retire(self) -> None:
        if not self._lock.locked() and self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if self._retiring is not None:
            self._retiring.cancel()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _frame(value: Any) -> bytes:
    body = pickle.dumps(value)
    return _LENGTH.pack(len(body)) + body


def _tasks(
    sealing: tuple[str, ...],
) -> tuple[dict[str, Callable[..., Any]], tuple[type[Exception], ...]]:
    """What it does, and the errors that say that a seal does not hold."""
    # Imported here: only the press itself pays for the PDF libraries, and fewer serve to render.
    if not sealing:
        from contracts.documents.rendering import Renderer  # noqa: PLC0415

        renderer = Renderer()
        return {"render": renderer.render, "remake": renderer.remake}, ()
    from contracts.documents.printing import Printer  # noqa: PLC0415
    from contracts.documents.seal import SealBroken  # noqa: PLC0415

    printer = Printer(*sealing)
    return {
        "render": printer.render,
        "remake": printer.remake,
        "seal": printer.seal,
        "check": printer.check,
    }, (SealBroken,)


def _serve() -> None:
    """Answer tasks from the standard input until it closes."""
    inward, outward = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between the answers

    def read() -> Any:
        head = inward.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            sys.exit(0)
        return pickle.loads(inward.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - our parent's

    tasks, seal_broken = _tasks(read())
    gc.freeze()  # the libraries stay as long as the process; no task waits while they are searched
    while True:
        name, arguments = read()
        try:
            answer: Answer = ("done", tasks[name](*arguments))
        except seal_broken as broken:
            answer = ("broken", str(broken))
        except Exception as error:  # noqa: BLE001 - the parent decides what it means
            answer = ("failed", f"{type(error).__name__}: {error}")
        outward.write(_frame(answer))
        outward.flush()


if __name__ == "__main__":
    _serve()
