"""Whether a server answers; cheap enough to ask ten times a second."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

Probe = Callable[[], Awaitable[bool]]
WITHIN_SECONDS = 2


async def _first_line(port: int, request: bytes) -> bytes:
    async with asyncio.timeout(WITHIN_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await reader.readline() if request else b""
        finally:
            writer.close()


async def is_open(port: int) -> bool:
    """Whether something listens."""
    try:
        await _first_line(port, b"")
    except (OSError, TimeoutError):
        return False
    return True


def listens(path: Path) -> Probe:
    """A probe that holds while something listens at this path."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                _, writer = await asyncio.open_unix_connection(path)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return probe


def answers(port: int, path: str) -> Probe:
    """A probe that holds while GET answers 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"

    async def probe() -> bool:
        try:
            status = await _first_line(port, request.encode())
        except (OSError, TimeoutError):
            return False
        return status.split()[1:2] == [b"200"]

    return probe
