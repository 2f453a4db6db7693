"""The stack a test run uses: started on free ports by the operator's own command, used over its
real logins.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.testing.containers import Container, Servers, containers_if_asked

START_WITHIN_SECONDS = 420
_PR_SET_PDEATHSIG = 1
READY_WITHIN_SECONDS = 60


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Stack:
    """A running stack, or the part of it that has been asked for."""

    def __init__(self, folder: Path, servers: Servers | None = None) -> None:
        self.folder = folder
        self._servers = servers
        self._said: dict[str, Any] = {}

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[Self]:
        """A stack in a folder of its own, with nothing running yet but PostgreSQL.

        TEST_STACK=containers takes PostgreSQL, Kafka and S3 from containers.
        """
        # Not pytest's own folder: PostgreSQL drops to a user that may not pass through it.
        folder = Path(tempfile.mkdtemp(prefix="bloxtr8-test-", dir="/var/tmp"))
        try:
            with containers_if_asked(folder) as servers:
                stack = cls(folder, servers)
                with stack._running():
                    yield stack
        finally:
            if os.environ.get("KEEP_STACK") is None:
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        command = self._command("up", "--free-ports", "--for-tests", "--only", "postgres")
        log = self.folder.with_suffix(".log")
        with (
            log.open("w") as said,
            subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=self._environment,
                # Ctrl-C is for pytest, which then stops the stack; so does pytest's own death.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock
            ) as supervisor,
        ):
            try:
                assert supervisor.stdout is not None
                if not supervisor.stdout.readline().startswith("The stack is up"):
                    raise RuntimeError(f"The stack did not start:\n{log.read_text()}")
                self._said = json.loads((self.folder / "stack.json").read_text())
                yield
            finally:
                supervisor.terminate()
                supervisor.wait()
                log.unlink()

    def _command(self, verb: str, *rest: str) -> list[str]:
        program = str(Path(sys.executable).parent / "bloxtr8")
        return [program, verb, "--state", str(self.folder), *rest]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **(self._servers.environment if self._servers else {})}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `bloxtr8 …` on this stack, whatever it answers."""
        verb, *rest = arguments
        return subprocess.run(  # noqa: S603 - our own command
            self._command(verb, *rest),
            capture_output=True,
            text=True,
            timeout=START_WITHIN_SECONDS,
            check=False,
            env=self._environment,
        )

    def command(self, *arguments: str) -> str:
        """Run `bloxtr8 …` on this stack.

        Raises:
            RuntimeError: it failed; carries what it and the supervisor said.
        """
        done = self.run(*arguments)
        if done.returncode != 0:
            raise RuntimeError(
                f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def start(self, *names: str) -> None:
        """Start processes, and what they need, and return when they are ready.

        Raises:
            RuntimeError: one is not; carries the end of its log.
        """
        contained, others = self._split(names)
        for name in contained:
            contained[name].start()
        try:
            if others:
                self.command("start", *others)
        except RuntimeError as error:
            logs = [self.folder / "logs" / f"{name}.log" for name in names]
            said = [f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs if log.exists()]
            raise RuntimeError("\n".join([str(error), *said])) from None

    def stop(self, *names: str) -> None:
        contained, others = self._split(names)
        for name in contained:
            contained[name].stop()
        if others:
            self.command("stop", *others)

    def kill(self, *names: str) -> None:
        contained, others = self._split(names)
        for name in contained:
            contained[name].kill()
        if others:
            self.command("kill", *others)

    def _split(self, names: tuple[str, ...]) -> tuple[dict[str, Container], list[str]]:
        """Those of the names that are containers, and those that are processes."""
        by_name = self._servers.containers if self._servers else {}
        return (
            {name: by_name[name] for name in names if name in by_name},
            [name for name in names if name not in by_name],
        )

    def status(self) -> dict[str, dict[str, Any]]:
        """The rows of `bloxtr8 status` by process name."""
        return {row["name"]: row for row in json.loads(self.command("status", "--json"))}

    def wait_ready(self, process: str, *, within_seconds: float = READY_WITHIN_SECONDS) -> None:
        """Wait for the readiness of a process that a test started itself.

        Raises:
            TimeoutError: it is not ready in time.
        """
        port = self.ops_port(process)
        deadline = time.monotonic() + within_seconds
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as ops:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    if ops.get("/health/ready").status_code == 200:
                        return
                time.sleep(0.05)
        raise TimeoutError(f"{process} is not ready within {within_seconds:g} s")

    def ops_port(self, process: str) -> int:
        return int(self._said["ports"][f"{process}_ops"])

    def env(self, process: str) -> dict[str, str]:
        """The environment of a service's process, for one that a test starts itself."""
        return dict(self._said["processes"][process]["env"])

    def argv(self, process: str) -> list[str]:
        return list(self._said["processes"][process]["argv"])

    @contextlib.contextmanager
    def another(self, process: str, log: Path, **changes: str) -> Iterator[subprocess.Popen[bytes]]:
        """A second process of this kind with some settings changed, ended with the block."""
        with (
            log.open("wb") as output,
            subprocess.Popen(  # noqa: S603 - our own command
                self.argv(process),
                env={**os.environ, **self.env(process), **changes},
                stdout=output,
                stderr=output,
            ) as other,
        ):
            try:
                yield other
            finally:
                other.kill()

    @property
    def gateway_url(self) -> str:
        return str(self._said["gateway_url"])

    @property
    def simulators_url(self) -> str:
        return str(self._said["simulators_url"])

    @property
    def kafka_bootstrap(self) -> str:
        return str(self._said["kafka_bootstrap_servers"])

    def kafka_password(self, principal: str) -> str:
        return str(self._said["kafka_passwords"][principal])

    def superuser_dsn(self, database: str = "bloxtr8") -> str:
        return self._in_database(self._said["administrator_url"], database)

    def owner_dsn(self, service: str, database: str = "bloxtr8") -> str:
        return self._in_database(self._said["role_urls"][f"{service}_owner"], database)

    def app_dsn(self, service: str, database: str = "bloxtr8") -> str:
        return self._in_database(self._said["role_urls"][f"{service}_app"], database)

    def auditor_dsn(self, database: str = "bloxtr8") -> str:
        return self._in_database(self._said["role_urls"]["auditor"], database)

    @staticmethod
    def _in_database(url: str, database: str) -> str:
        return f"{url.rpartition('/')[0]}/{database}"

    def s3(self, login: str) -> dict[str, Any]:
        """Arguments for `boto3.client("s3", **stack.s3("contracts"))`."""
        access, secret = self._said["s3_keys"][login]
        return {
            "endpoint_url": self._said["s3_endpoint_url"],
            "region_name": self._said["s3_region"],
            "aws_access_key_id": access,
            "aws_secret_access_key": secret,
        }

    def _kafka(self, principal: str) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.kafka_bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": principal,
            "sasl_plain_password": self.kafka_password(principal),
        }

    def producer(self, principal: str) -> AIOKafkaProducer:
        return AIOKafkaProducer(**self._kafka(principal), acks="all", enable_idempotence=True)

    def consumer(self, principal: str, *topics: str, **settings: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(*topics, **(self._kafka(principal) | settings))

    async def produce(
        self, principal: str, topic: str, messages: list[tuple[str, bytes, Mapping[str, str], int]]
    ) -> None:
        """Send messages (key, value, headers, partition) as a service would."""
        async with self.producer(principal) as producer:
            for key, value, headers, partition in messages:
                encoded = [(name, text.encode()) for name, text in headers.items()]
                await producer.send_and_wait(
                    topic, value, key=key.encode(), headers=encoded, partition=partition
                )

    async def read(self, topic: str) -> list[Any]:
        """Every message of a topic, by partition and offset."""
        async with self.consumer("admin") as consumer:
            numbers = await self._partitions(consumer, topic)
            consumer.assign(numbers)
            await consumer.seek_to_beginning(*numbers)
            ends = await consumer.end_offsets(numbers)
            records: list[Any] = []
            while any([await consumer.position(number) < ends[number] for number in numbers]):
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    records += batch
        return sorted(records, key=lambda record: (record.partition, record.offset))

    async def lag(self, group: str) -> int:
        """How many messages the group has not committed yet, over all topics it has read."""
        from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415 - few tests need it

        admin = AIOKafkaAdminClient(**self._kafka("admin"))
        await admin.start()
        try:
            committed = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        async with self.consumer("admin") as consumer:
            ends = await consumer.end_offsets(list(committed))
        return sum(ends[place] - offset.offset for place, offset in committed.items())

    @staticmethod
    async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
        # The first call asks for the topic's metadata, which then arrives in the background.
        await consumer._client.force_metadata_update()  # noqa: SLF001 - no public call
        return [
            TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()
        ]


async def fetch(dsn: str, query: str, *values: Any) -> list[asyncpg.Record]:
    """The rows of one query over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()
