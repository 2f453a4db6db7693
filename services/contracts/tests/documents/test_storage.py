"""A key is taken once; what is under it stays."""

import asyncio
from uuid import uuid4

import httpx
import pytest

from contracts.documents.storage import Storage, StorageUnavailable
from contracts.settings import Settings


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
    assert "X-Amz-Expires=300" in url
    assert (other.status_code, unsigned.status_code) == (403, 403)


async def test_a_storage_that_does_not_answer_says_so(settings: Settings) -> None:
    gone = Storage(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
    with pytest.raises(StorageUnavailable):
        await gone.put_once("contracts/x", b"")
    with pytest.raises(StorageUnavailable):
        await gone.read("contracts/x")
