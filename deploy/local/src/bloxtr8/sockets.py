"""Sockets in the file system that their owner alone can reach."""

import socket
from pathlib import Path


def private(path: Path) -> socket.socket:
    """A socket bound to `path`, in the place of one that a killed process has left there."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    # Nobody can connect before it listens; a umask would change what other threads make meanwhile.
    path.chmod(0o600)
    return made
