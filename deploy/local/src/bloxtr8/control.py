"""The socket by which commands reach the supervisor: one line of JSON each way."""

import asyncio
import contextlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bloxtr8 import sockets
from bloxtr8.errors import Misused
from bloxtr8.home import Home

if TYPE_CHECKING:
    # The commands need no supervisor; loading all it starts would make them slow.
    from bloxtr8.supervisor import Supervisor


UP_STATES = {"ready", "done"}


async def serve(supervisor: "Supervisor") -> None:
    """Answer commands until the stack is to stop."""
    path = supervisor.home.control

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        try:
            said: Any = await _do(supervisor, asked["do"], asked["names"])
        except Misused as error:
            said = {"error": str(error)}
        writer.write(json.dumps(said).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, sock=sockets.private(path)):
        await supervisor.stopping.wait()
    path.unlink(missing_ok=True)


async def _do(supervisor: "Supervisor", verb: str, names: list[str]) -> Any:
    match verb:
        case "start":
            await supervisor.start(names)
            return [row for row in supervisor.rows(names) if row["state"] not in UP_STATES]
        case "stop" | "kill":
            await supervisor.stop(names, kill=verb == "kill")
        case "down":
            supervisor.stopping.set()
    return supervisor.status()


async def _exchange(home: Home, verb: str, names: Iterable[str]) -> Any:
    reader, writer = await asyncio.open_unix_connection(home.control)
    writer.write(json.dumps({"do": verb, "names": list(names)}).encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    if not answer:
        raise ConnectionResetError("The supervisor ended before it answered.")
    return json.loads(answer)


def ask(home: Home, verb: str, names: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Send a command to the running supervisor.

    Returns:
        A row per process; of `start` the rows of what did not come up.

    Raises:
        OSError: none is running.
        Misused: it cannot be done.
    """
    answer = asyncio.run(_exchange(home, verb, names))
    if isinstance(answer, dict):
        raise Misused(answer["error"])
    return list(answer)
