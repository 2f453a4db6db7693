"""Waiting for what happens elsewhere: ask again until it holds, never sleep and hope."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(assertion: Callable[[], Awaitable[None]], within_seconds: float = 30) -> None:
    """Run the assertion every 50 ms until it holds; at the end its last failure is raised."""
    deadline = asyncio.get_running_loop().time() + within_seconds
    while True:
        try:
            await assertion()
        except AssertionError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return
