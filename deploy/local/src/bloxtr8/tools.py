"""Programs that prepare something and end."""

import subprocess
from pathlib import Path

_LAST_CHARACTERS = 2000


def run(command: list[str], *, folder: Path | None = None) -> None:
    """Run a program to its end.

    Raises:
        RuntimeError: it failed; carries the end of what it said.
    """
    done = subprocess.run(  # noqa: S603 - our own commands
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
    )
    if done.returncode != 0:
        said = done.stdout.strip()[-_LAST_CHARACTERS:]
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
