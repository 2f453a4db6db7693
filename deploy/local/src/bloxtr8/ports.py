"""Which port each part takes, and who has it when it is taken."""

import contextlib
import random
import socket
from collections.abc import Iterable

import psutil

from bloxtr8.errors import Misused

SERVICES = ("identity", "listings", "contracts", "escrow")
GRPC_OFFSET = 10_000
"""SeaweedFS opens each of its ports a second time, this far above."""
DEFAULT_PORTS = {
    "gateway": 8080,
    "postgres": 15432,
    "kafka": 19092,
    "kafka_controller": 19093,
    "s3": 18333,
    "s3_master": 19333,
    "s3_volume": 19340,
    "s3_filer": 18888,
    "s3_admin": 18646,
    "simulators": 18500,
    **{
        f"{service}.{kind}": 18600 + 10 * number + offset
        for number, service in enumerate(SERVICES)
        for offset, kind in enumerate(("api", "api_ops", "worker_ops"))
    },
}
_FREE_RANGE = range(12_000, 22_000)
"""Neither these nor the ports SeaweedFS opens above them are given to outgoing connections."""


_BLOCK_PORTS = 2 * len(DEFAULT_PORTS)
_reserved: list[socket.socket] = []
"""One a block of ports of ours; whoever looks for free ones passes it over until we have ended."""


def free_ports() -> dict[str, int]:
    """A port for every name that is free now, no stack's default, and no other stack's for as long
    as this process lives: a part may be started minutes from now.

    Raises:
        Misused: there are not so many.
    """
    starts = range(_FREE_RANGE.start, _FREE_RANGE.stop - _BLOCK_PORTS, _BLOCK_PORTS)
    for start in random.sample(starts, len(starts)):
        found = [
            port
            for port in range(start, start + _BLOCK_PORTS)
            if port not in DEFAULT_PORTS.values() and is_free(port) and is_free(port + GRPC_OFFSET)
        ]
        if len(found) >= len(DEFAULT_PORTS) and _reserve(start):
            return dict(zip(DEFAULT_PORTS, found, strict=False))
    raise Misused(f"No {len(DEFAULT_PORTS)} free ports in {_FREE_RANGE}. Stop other stacks.")


def _reserve(start: int) -> bool:
    """A block is whose process has the datagram port of its first number, which nothing else is
    used for.
    """
    mark = socket.socket(type=socket.SOCK_DGRAM)
    try:
        mark.bind(("127.0.0.1", start))
    except OSError:
        mark.close()
        return False
    _reserved.append(mark)
    return True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Who listens on a port, for a message: `nginx (pid 123)`."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another user's process"


def check(ports: dict[str, int], needed: Iterable[str]) -> None:
    """Refuse to start beside somebody else's server.

    Raises:
        Misused: a port is taken; names it, its use and the process that has it.
    """
    for name in needed:
        also = (ports[name] + GRPC_OFFSET,) if name.startswith("s3") else ()
        for port in (ports[name], *also):
            if not is_free(port):
                raise Misused(
                    f"Port {port} ({name}) is in use by {holder_of(port)}. "
                    "Stop that process, or start with --free-ports."
                )
