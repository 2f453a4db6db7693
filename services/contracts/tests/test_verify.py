"""Anyone may ask whether a file is a contract of ours; no file deceives us or stops the service."""

import asyncio
import hashlib
import io
import random
import zlib
from typing import Any

import httpx
import pytest
from pypdf import PdfReader, PdfWriter
from services.contracts.tests.conftest import Office, SealFiles, make_deal

from contracts.documents.seal import certificate_of, look_at
from contracts.documents.storage import Storage
from contracts.models import Contract
from shared.testing import Database

PATH = "/v1/contracts/verify"
MIB = 1024 * 1024
HEADERS = {"Content-Type": "application/pdf"}


@pytest.fixture
async def executed(office: Office) -> Contract:
    return await office.execute(make_deal())


@pytest.fixture
async def sealed(executed: Contract, storage: Storage) -> bytes:
    assert executed.sealed_key is not None
    return (await storage.read(executed.sealed_key, executed.sealed_version_id))[0]


async def ask(http: httpx.AsyncClient, file: bytes) -> dict[str, Any]:
    answer = await http.post(PATH, content=file, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    verdict: dict[str, Any] = answer.json()
    return verdict


async def test_the_sealed_contract_is_recognised_without_a_token(
    http: httpx.AsyncClient, executed: Contract, sealed: bytes
) -> None:
    assert await ask(http, sealed) == {
        "verdict": "SEALED_AND_CURRENT",
        "reason": "The seal holds and covers the entire file.",
        "contract_id": str(executed.id),
        "status": "EXECUTED",
        "document_sha256": executed.sha256,
        "sealed_sha256": hashlib.sha256(sealed).hexdigest(),
        "executed_at": executed.executed_at
        and executed.executed_at.isoformat().replace("+00:00", "Z"),
    }


async def test_the_document_to_sign_is_known_as_such(
    http: httpx.AsyncClient, office: Office, storage: Storage
) -> None:
    contract = await office.draw_up(make_deal())
    assert contract.document_key is not None
    document, _ = await storage.read(contract.document_key, contract.pdf_version_id)
    verdict = await ask(http, document)
    assert (verdict["verdict"], verdict["status"]) == ("UNSEALED", "PENDING_SIGNATURE")
    spoilt = document[:2000] + bytes([document[2000] ^ 1]) + document[2001:]
    verdict = await ask(http, spoilt)
    assert (verdict["verdict"], verdict["contract_id"]) == ("ALTERED", None)


async def test_what_is_appended_is_found_and_measured(
    http: httpx.AsyncClient, executed: Contract, sealed: bytes
) -> None:
    writer = PdfWriter(io.BytesIO(sealed), incremental=True)
    writer.add_blank_page(200, 200)
    longer = io.BytesIO()
    writer.write(longer)
    for file in (longer.getvalue(), sealed + b"\n% one more thing\n"):
        verdict = await ask(http, file)
        assert verdict["verdict"] == "APPENDED"
        assert verdict["reason"] == f"After sealing {len(file) - len(sealed)} bytes were appended."
        assert verdict["contract_id"] == str(executed.id)


async def test_a_copy_saved_by_another_program_is_altered(
    http: httpx.AsyncClient, sealed: bytes
) -> None:
    saved = io.BytesIO()
    PdfWriter(clone_from=PdfReader(io.BytesIO(sealed))).write(saved)
    assert (await ask(http, saved.getvalue()))["verdict"] == "ALTERED"
    assert (await ask(http, sealed[:-500]))["verdict"] == "ALTERED"


async def test_any_flipped_bit_is_found(
    http: httpx.AsyncClient, sealed: bytes, seal_files: SealFiles
) -> None:
    chosen = random.Random(8453)  # noqa: S311 - the same places in every run
    roots = [certificate_of(seal_files.root)]

    def judged(places: list[int]) -> list[str]:
        """As the process judges that the api starts for a file."""
        return [look_at(flipped(sealed, place, chosen), roots)["seal"] for place in places]

    places = [chosen.randrange(8, len(sealed)) for _ in range(40)]
    assert await asyncio.to_thread(judged, places) == ["BROKEN"] * len(places)
    assert (await ask(http, flipped(sealed, places[0], chosen)))["verdict"] == "ALTERED"


def flipped(sealed: bytes, place: int, chance: random.Random) -> bytes:
    spoilt = bytearray(sealed)
    spoilt[place] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


async def test_a_seal_of_ours_that_we_do_not_keep_is_not_current(
    http: httpx.AsyncClient, executed: Contract, sealed: bytes, database: Database
) -> None:
    await database.rows(
        "UPDATE contracts SET sealed_sha256 = $1 WHERE id = $2", "0" * 64, executed.id
    )
    verdict = await ask(http, sealed)
    assert (verdict["verdict"], verdict["contract_id"]) == ("NOT_CURRENT", str(executed.id))


async def test_a_stranger_s_file_is_unknown(http: httpx.AsyncClient) -> None:
    writer, file = PdfWriter(), io.BytesIO()
    writer.add_blank_page(200, 200)
    writer.write(file)
    verdict = await ask(http, file.getvalue())
    assert (verdict["verdict"], verdict["contract_id"], verdict["status"]) == (
        "UNKNOWN",
        None,
        None,
    )


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-256"])
async def test_an_encrypted_copy_is_none_of_ours(
    http: httpx.AsyncClient, sealed: bytes, algorithm: str
) -> None:
    writer, file = PdfWriter(clone_from=PdfReader(io.BytesIO(sealed))), io.BytesIO()
    writer.encrypt("secret", "owner", algorithm=algorithm)
    writer.write(file)
    verdict = await ask(http, file.getvalue())
    assert verdict["verdict"] in {"ALTERED", "UNKNOWN"}
    assert (verdict["contract_id"], verdict["status"]) == (None, None)


def bomb() -> bytes:
    """A PDF whose cross-reference stream grows to 1 GiB when it is read."""
    packer, zeros = zlib.compressobj(), bytes(MIB)
    first, more = (packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    # What follows a full flush may follow it again; the checksum is that of as many zeros.
    checksum = 1024 * MIB % 65_521 << 16 | 1
    body = first + more * 1023 + packer.flush()[:-4] + checksum.to_bytes(4, "big")
    head = b"%PDF-1.7\n"
    stream = (
        b"1 0 obj\n<< /Type /XRef /Size 10 /W [1 4 2] /Root 2 0 R /Filter /FlateDecode /Length "
        + str(len(body)).encode()
        + b" >>\nstream\n"
        + body
        + b"\nendstream\nendobj\n"
    )
    return head + stream + b"startxref\n" + str(len(head)).encode() + b"\n%%EOF\n"


async def test_a_file_that_explodes_is_given_up(http: httpx.AsyncClient, sealed: bytes) -> None:
    file = bomb()
    assert len(file) < 2 * MIB
    assert (await ask(http, file))["verdict"] == "UNKNOWN"
    assert (await ask(http, sealed))["verdict"] == "SEALED_AND_CURRENT"


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        (b"", 422, "not-a-pdf"),
        (b"GIF89a", 422, "not-a-pdf"),
        (b"%PDF-1.7\n".ljust(10 * MIB + 1), 413, "content-too-large"),
    ],
)
async def test_what_is_no_pdf_or_too_large_is_refused(
    http: httpx.AsyncClient, file: bytes, status: int, code: str
) -> None:
    answer = await http.post(PATH, content=file, headers=HEADERS)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (status, code)


async def test_ten_mebibytes_are_read(http: httpx.AsyncClient) -> None:
    assert (await ask(http, b"%PDF-1.7\n".ljust(10 * MIB)))["verdict"] == "UNKNOWN"


async def test_an_address_may_ask_sixty_times_an_hour(
    http: httpx.AsyncClient, database: Database
) -> None:
    assert (await http.post(PATH, content=b"GIF89a", headers=HEADERS)).status_code == 422
    await database.rows("UPDATE rate_limits SET hits = 60 WHERE bucket LIKE 'verify:%'")
    refused = await http.post(PATH, content=b"GIF89a", headers=HEADERS)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
