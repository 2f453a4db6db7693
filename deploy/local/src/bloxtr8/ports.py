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


def free_ports() -> dict[str, int]:
    """A port for every name that is free now and no stack's default."""
    taken = set(DEFAULT_PORTS.values())
    candidates = iter(random.sample(_FREE_RANGE, len(_FREE_RANGE)))
    return {
        name: next(
            port
            for port in candidates
            if port not in taken and is_free(port) and is_free(port + GRPC_OFFSET)
        )
        for name in DEFAULT_PORTS
    }


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
