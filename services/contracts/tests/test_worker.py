"""A process that is killed at any point is replaced, and the effect is there once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from services.contracts.tests.conftest import Office, make_deal

from contracts.documents.storage import Storage
from contracts.lifecycle import ContractStatus
from shared.testing import eventually, free_port
from shared.testing.tokens import TestIssuer

CREATION_POINTS = ["pdf.after_render", "s3.after_put_before_row", "pdf.after_put_before_hash_row"]
EXECUTION_POINTS = ["seal.after_put_before_row"]
COMMAND_POINTS = {"cmd.before_commit": 0, "cmd.after_commit_before_reply": 1}
"""How many signatures there are after the kill."""


@contextmanager
def worker(
    environment: dict[str, str], log: Path, *, kind: str = "worker", **changes: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A real process on the test's database, ended with the block."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", f"contracts.{kind}"],
            env={**os.environ, **environment, **changes},
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


async def killed_at(environment: dict[str, str], log: Path, point: str) -> None:
    """Run a worker until it dies at the point, and make its lease run out."""
    with worker(environment, log, CONTRACTS_CRASH_AT=point) as doomed:
        died = await asyncio.to_thread(doomed.wait, 60)
    assert died == -signal.SIGKILL, f"see {log}"


async def versions(storage: Storage, prefix: str) -> list[str]:
    found = await asyncio.to_thread(
        storage._client.list_object_versions, Bucket="contracts", Prefix=prefix
    )
    return [version["Key"] for version in found.get("Versions", [])]


@pytest.mark.parametrize("point", CREATION_POINTS)
async def test_a_creation_survives_a_kill(
    office: Office, storage: Storage, environment: dict[str, str], tmp_path: Path, point: str
) -> None:
    deal = make_deal()
    await office.accept(deal)
    await killed_at(environment, tmp_path / "doomed.log", point)
    assert await office.database.rows("SELECT id FROM contracts") == []
    await office.database.rows("UPDATE jobs SET lease_until = clock()")
    assert await office.run_creation()
    contract = await office.contract(deal)
    assert contract.status is ContractStatus.PENDING_SIGNATURE
    assert await versions(storage, f"contracts/{contract.id}/") == [contract.document_key]
    assert len(await office.events("contract.created", contract.id)) == 1
    job = await office.database.one("SELECT status, attempts FROM jobs")
    assert (job["status"], job["attempts"]) == ("COMPLETED", 2)


@pytest.mark.parametrize("point", EXECUTION_POINTS)
async def test_an_execution_survives_a_kill(
    office: Office, storage: Storage, environment: dict[str, str], tmp_path: Path, point: str
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract)
    await office.begin_execution(contract)
    await killed_at(environment, tmp_path / "doomed.log", point)
    assert (await office.read(contract.id)).status is ContractStatus.EXECUTING
    await office.database.rows("UPDATE contract_execution_jobs SET lease_until = clock()")
    assert await office.run_execution()
    assert (await office.read(contract.id)).status is ContractStatus.EXECUTED
    sealed = f"contracts/{contract.id}/sealed.pdf"
    assert await versions(storage, sealed) == [sealed]
    assert len(await office.events("contract.executed", contract.id)) == 1
    job = await office.database.one("SELECT status, attempts FROM contract_execution_jobs")
    assert (job["status"], job["attempts"]) == ("COMPLETED", 2)


async def test_a_worker_frozen_past_its_lease_writes_nothing_when_it_wakes(
    office: Office, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract)
    log = tmp_path / "frozen.log"

    async def has_begun() -> None:
        job = await office.database.one("SELECT status FROM contract_execution_jobs")
        assert job["status"] == "PROCESSING"

    async def noticed() -> None:
        assert "job.lease_lost" in log.read_text()

    with worker(environment, log) as frozen:
        await office.begin_execution(contract)
        # Its press has yet to load the PDF libraries, so it cannot have finished when it is seen.
        await eventually(has_begun, within_seconds=60)
        frozen.send_signal(signal.SIGSTOP)
        await office.database.rows("UPDATE contract_execution_jobs SET lease_until = clock()")
        assert await office.run_execution()
        executed = await office.read(contract.id)
        assert executed.status is ContractStatus.EXECUTED
        frozen.send_signal(signal.SIGCONT)
        await eventually(noticed, within_seconds=30)
    after = await office.read(contract.id)
    assert (after.version, after.sealed_version_id) == (
        executed.version,
        executed.sealed_version_id,
    )
    assert len(await versions(storage, f"contracts/{contract.id}/sealed.pdf")) == 1
    assert len(await office.events("contract.executed", contract.id)) == 1
    job = await office.database.one("SELECT status, attempts, fence FROM contract_execution_jobs")
    assert (job["status"], job["attempts"], job["fence"]) == ("COMPLETED", 2, 2)


@pytest.mark.parametrize("point", COMMAND_POINTS)
async def test_a_signature_whose_api_is_killed_is_given_once_when_it_is_sent_again(
    office: Office,
    environment: dict[str, str],
    issuer: TestIssuer,
    http: httpx.AsyncClient,
    tmp_path: Path,
    point: str,
) -> None:
    contract = await office.draw_up(make_deal())
    await office.database.rows(
        "INSERT INTO signing_key_cache (kid, jwk) SELECT value ->> 'kid', value"
        " FROM jsonb_array_elements($1)",
        json.dumps(issuer.jwks()["keys"]),
    )
    port = free_port()
    path = f"/v1/contracts/{contract.id}/sign"
    body = {"document_sha256": contract.sha256, "consent": True}
    headers = {**issuer.authorization(contract.buyer_id), "Idempotency-Key": "once"}
    changes = {"CONTRACTS_CRASH_AT": point, "CONTRACTS_PORT": str(port)}
    with worker(environment, tmp_path / "api.log", kind="api", **changes) as doomed:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def answers() -> None:
                try:
                    await client.get("/v1/contracts")
                except httpx.TransportError as error:
                    raise AssertionError from error

            await eventually(answers, within_seconds=60)
            with pytest.raises(httpx.TransportError):
                await client.post(path, json=body, headers=headers)
        assert await asyncio.to_thread(doomed.wait, 30) == -signal.SIGKILL
    given = await office.database.rows("SELECT id FROM signatures")
    assert len(given) == COMMAND_POINTS[point]
    again = await http.post(path, json=body, headers=headers)
    assert again.status_code == 200, again.text
    assert again.headers.get("Idempotency-Replayed", "false") == ("true" if given else "false")
    for table in ("signatures", "audit_logs WHERE action = 'contract.part_signed'"):
        assert len(await office.database.rows(f"SELECT id FROM {table}")) == 1
    assert (await office.read(contract.id)).version == 2


@pytest.mark.usefixtures("database")
async def test_a_worker_is_small_and_tells_what_is_down(
    environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/health/ready"
    with worker(environment, tmp_path / "idle.log", CONTRACTS_OPS_PORT=str(port)) as process:
        async with httpx.AsyncClient() as client:

            async def answers() -> None:
                try:
                    said = (await client.get(url)).text
                except httpx.TransportError as error:
                    raise AssertionError from error
                assert "storage: ok" in said
                assert "database: ok" in said
                assert "broker: down" in said

            await eventually(answers, within_seconds=30)
            counted = (await client.get(url.replace("/health/ready", "/metrics"))).text
            for table in ("jobs", "contract_execution_jobs"):
                assert f'job_oldest_due_seconds{{table="{table}"}} 0.0' in counted
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        assert sum(member.memory_info().rss for member in family) < 220 * 2**20
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) in (0, -signal.SIGTERM)
