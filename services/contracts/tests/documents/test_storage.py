"""A key is taken once; what is under it stays."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from contracts.documents.storage import Storage, StorageUnavailable
from contracts.settings import Settings
from shared.testing import Stack


async def test_of_many_puts_to_one_key_one_wins_and_its_bytes_stay(storage: Storage) -> None:
    key = f"contracts/{uuid4()}/sealed.pdf"
    bodies = [f"body {number}".encode() for number in range(8)]
    versions = await asyncio.gather(*(storage.put_once(key, body) for body in bodies))
    [winner] = [number for number, version in enumerate(versions) if version]
    assert await storage.read(key) == (bodies[winner], versions[winner])


async def test_an_address_opens_one_object_and_no_other(storage: Storage) -> None:
    key = f"contracts/{uuid4()}/a.pdf"
    version = await storage.put_once(key, b"%PDF")
    assert version is not None
    url = storage.presigned_url(key, version, "contract.pdf")
    async with httpx.AsyncClient() as anybody:
        answer = await anybody.get(url)
        assert (answer.status_code, answer.content) == (200, b"%PDF")
        assert answer.headers["Content-Type"] == "application/pdf"
        other = await anybody.get(url.replace("a.pdf", "b.pdf"))
        unsigned = await anybody.get(url.partition("?")[0])
        longer = await anybody.get(url.replace("X-Amz-Expires=300", "X-Amz-Expires=9000"))
        older = await anybody.get(url.replace(version, "null"))
        written = await anybody.put(url, content=b"other bytes")
        listed = await anybody.get(url.partition("/contracts/")[0] + "/contracts")
    assert "X-Amz-Expires=300" in url
    refused = [one.status_code for one in (other, unsigned, longer, older, written, listed)]
    assert refused == [403] * len(refused)
    assert await storage.read(key) == (b"%PDF", version)


async def test_what_is_stored_cannot_be_deleted_for_years_not_even_by_administrators(
    storage: Storage, postgres_server: Stack
) -> None:
    key = f"contracts/{uuid4()}/sealed.pdf"
    version = await storage.put_once(key, b"%PDF")
    assert version is not None
    which: Any = {"Bucket": "contracts", "Key": key, "VersionId": version}
    admin: Any = boto3.client("s3", **postgres_server.s3("admin"))
    retention = admin.get_object_retention(**which)["Retention"]
    years = retention["RetainUntilDate"] - datetime.now(UTC)
    assert retention["Mode"] == "COMPLIANCE"
    assert timedelta(days=3650) < years < timedelta(days=3661)
    sooner: Any = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=2)}
    changes: tuple[Callable[[], Any], ...] = (
        lambda: admin.delete_object(**which),
        lambda: admin.delete_object(**which, BypassGovernanceRetention=True),
        lambda: admin.put_object_retention(**which, Retention=sooner),
        lambda: storage._client.delete_object(**which),
    )
    for change in changes:
        with pytest.raises(ClientError, match="AccessDenied"):
            change()
    assert await storage.read(key, version) == (b"%PDF", version)


async def test_a_storage_that_does_not_answer_says_so(settings: Settings) -> None:
    gone = Storage(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
    with pytest.raises(StorageUnavailable):
        await gone.put_once("contracts/x", b"")
    with pytest.raises(StorageUnavailable):
        await gone.read("contracts/x")
