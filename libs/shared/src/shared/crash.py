"""Named points at which a test can make a process die as if its power were cut."""

import os
import signal

_armed: str | None = None


def arm(name: str | None) -> None:
    """Die at the crash point of this name; None disarms. Settings refuse it in production."""
    global _armed  # noqa: PLW0603 - one process, one fuse
    _armed = name or None


def point(name: str) -> None:
    """SIGKILL this process here if the point is armed; else nothing."""
    if _armed == name:
        os.kill(os.getpid(), signal.SIGKILL)
