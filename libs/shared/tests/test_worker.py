"""A worker serves whatever is up or down, recovers by itself, and goes away without losing work."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import psutil
from libs.shared.tests.conftest import Start
from pydantic import SecretStr

from shared import jobs, outbox
from shared.database import Sessions
from shared.testing import eventually
from shared.testing.probe import Happened, ProbeSettings

MIB = 2**20


class Gate:
    """A port of its own in front of a server: closed at first, opened when asked."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, address: str) -> AsyncIterator["Gate"]:
        gate = cls(address)
        await gate.open()
        await gate.close()
        yield gate
        await gate.close()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        further = await asyncio.open_connection(self._host, self._port)
        self._writers += [writer, further[1]]
        with contextlib.suppress(OSError):
            await asyncio.gather(_pump(reader, further[1]), _pump(further[0], writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Ops:
    """The health of a process."""

    def __init__(self, client: httpx.AsyncClient, port: int) -> None:
        self._client, self._url = client, f"http://127.0.0.1:{port}"

    async def says(self, path: str, status: int, body: str) -> None:
        try:
            answer = await self._client.get(f"{self._url}{path}")
        except httpx.ConnectError as error:
            raise AssertionError from error
        assert (answer.status_code, answer.text) == (status, body)

    async def metrics(self) -> str:
        return (await self._client.get(f"{self._url}/metrics")).text


DOWN = "database: down (ConnectionRefusedError)\nbroker: down (ConnectionError)\n"
NO_DATABASE = "database: down (ConnectionRefusedError)\nbroker: ok\n"
UP = "database: ok\nbroker: ok\n"


async def test_a_worker_starts_with_everything_down_recovers_and_stops_in_order(
    settings: ProbeSettings,
    sessions: Sessions,
    owner: asyncpg.Connection,
    started: Start,
    unused_tcp_port: int,
) -> None:
    url = settings.asyncpg_url
    address = urlsplit(url).netloc.rpartition("@")[2]
    async with (
        Gate.before(address) as database,
        Gate.before(settings.kafka_bootstrap_servers) as broker,
        httpx.AsyncClient(timeout=5) as client,
    ):
        behind = settings.model_copy(
            update={
                "database_url": SecretStr(url.replace(address, f"127.0.0.1:{database.port}")),
                "kafka_bootstrap_servers": f"127.0.0.1:{broker.port}",
                "ops_port": unused_tcp_port,
            }
        )
        ops = Ops(client, unused_tcp_port)
        fence = await owner.fetchval("SELECT fence FROM relay_leases")

        async def leads(times: int) -> None:
            assert await owner.fetchval("SELECT fence FROM relay_leases") == fence + times

        async with started(behind) as process:
            await eventually(lambda: ops.says("/health/ready", 503, DOWN), 20)
            await ops.says("/health/live", 200, "alive\n")
            await database.open()
            await broker.open()
            await eventually(lambda: ops.says("/health/ready", 200, UP), 20)

            async def done() -> None:
                rows = await owner.fetch("SELECT cause FROM effects ORDER BY cause")
                assert [row["cause"] for row in rows] == ["event 1", "job a"]

            async with sessions.begin() as session:
                await jobs.enqueue(session, "note", "a", {})
                await outbox.record(session, Happened(version=1, thing_id=uuid4(), number=1))
            await eventually(done, 20)
            await database.close()
            await eventually(lambda: ops.says("/health/ready", 503, NO_DATABASE))
            await ops.says("/health/live", 200, "alive\n")
            await database.open()
            await eventually(lambda: ops.says("/health/ready", 200, UP), 20)

            async def measured() -> None:
                assert {
                    "outbox_pending 0.0",
                    "relay_published_total 1.0",
                    'inbox_messages_total{outcome="handled",topic="probe.happened"} 1.0',
                    'job_attempts_total{kind="note",outcome="completed"} 1.0',
                    'job_oldest_due_seconds{table="jobs"} 0.0',
                    'consumer_lag_messages{topic="probe.happened"} 0.0',
                } <= set((await ops.metrics()).splitlines())

            # The relay may still be about to find its way back.
            await eventually(measured)
            assert psutil.Process(process.pid).memory_info().rss < 150 * MIB
            await eventually(lambda: leads(2))
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
    assert await owner.fetchval("SELECT lease_until FROM relay_leases") is None
