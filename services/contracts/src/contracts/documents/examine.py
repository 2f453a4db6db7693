"""Strangers' files are examined in a process of their own, one a file, with little memory and time:
`python -m contracts.documents.examine ROOT_FILE [TSA_ROOT_FILE] < file`.

A file that hurts it hurts nothing else, and leaves nothing behind for the next one. The process has
no key, no login and no settings; it is given the authorities' certificates only.
"""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

WITHIN_SECONDS = 15.0
CPU_SECONDS = 10
MEMORY_BYTES = 768 * 1024 * 1024
SIDE_BY_SIDE = 2
LONGEST_ANSWER_BYTES = 64 * 1024

_slots = asyncio.Semaphore(SIDE_BY_SIDE)


class SealState(StrEnum):
    """What a file says of itself, before our records are asked."""

    HOLDS = "HOLDS"
    APPENDED = "APPENDED"
    """The seal holds for the beginning of the file; something follows behind it."""
    BROKEN = "BROKEN"
    """It carries marks of ours, and no seal that holds."""
    NONE = "NONE"
    """It carries nothing of ours."""
    UNREADABLE = "UNREADABLE"
    """Nobody can say within the limits."""


@dataclass(frozen=True)
class Examined:
    """What was found in a file."""

    seal: SealState
    reason: str
    hashes: tuple[str, ...] = ()
    """SHA-256 of the whole file, then of what its seal covers or of the document it names."""


async def examine(file: bytes, root_files: Sequence[Path]) -> Examined:
    """Look at a file that anybody may have made; never raises because of what is in it."""
    async with _slots:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "contracts.documents.examine", *map(str, root_files)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            },
            limit=LONGEST_ANSWER_BYTES,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                answer, _ = await process.communicate(file)
            found = json.loads(answer)
            return Examined(SealState(found["seal"]), found["reason"], tuple(found["hashes"]))
        except (TimeoutError, ValueError, KeyError):
            return Examined(
                SealState.UNREADABLE, "The file could not be examined in the time and memory given."
            )
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _main() -> None:
    # Imported here: only this process pays for the PDF libraries.
    from contracts.documents import seal  # noqa: PLC0415

    roots = [seal.certificate_of(Path(file)) for file in sys.argv[1:]]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up in the answer
    _limit()
    found: dict[str, Any] = seal.look_at(sys.stdin.buffer.read(), roots)
    out.write(json.dumps(found))
    out.flush()


if __name__ == "__main__":
    _main()
