"""Documents are made and sealed once, whatever happens in between."""

import asyncio
import dataclasses
import hashlib
import io
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pypdf
import pytest
from PIL import Image
from services.contracts.tests.conftest import Office, accepted, make_deal

from contracts import use_cases
from contracts.documents.press import Press
from contracts.documents.storage import Storage
from contracts.jobs import Works
from contracts.lifecycle import ContractStatus, VoidReason
from contracts.models import ContractExecutionJob
from contracts.settings import Settings
from contracts.use_cases import Reader
from shared.events.cards import Deal
from shared.events.contracts import ContractExecuted
from shared.jobs import JobRunner
from shared.jobs.runner import attempts_total, oldest_due_seconds
from shared.testing import Clock

S = ContractStatus


@pytest.fixture
def without_storage(office: Office, settings: Settings, press: Press) -> Office:
    """The same office while the storage is away."""
    gone = Storage(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
    works = Works(office.database.sessions, gone, press)
    return Office(office.database, works, office.settings, office.storage)


async def job(office: Office) -> dict[str, object]:
    return await office.database.one(
        "SELECT status, attempts, fence, last_error, next_retry_at - clock() AS due"
        " FROM contract_execution_jobs"
    )


async def test_an_accepted_offer_becomes_a_contract_in_force(
    office: Office, storage: Storage, press: Press
) -> None:
    deal = make_deal()
    contract = await office.draw_up(deal)
    assert (contract.status, contract.version) == (S.PENDING_SIGNATURE, 1)
    assert contract.sign_by == deal.accepted_at + timedelta(hours=72)
    document, _ = await storage.read(str(contract.document_key), contract.pdf_version_id)
    assert hashlib.sha256(document).hexdigest() == contract.sha256
    assert contract.document_key == f"contracts/{contract.id}/{contract.sha256}.pdf"

    await office.sign(contract)
    await office.begin_execution(contract)
    assert await office.run_execution()
    executed = await office.read(contract.id)
    assert executed.status is S.EXECUTED
    assert executed.sealed_key == f"contracts/{contract.id}/sealed.pdf"
    sealed, version_id = await storage.read(executed.sealed_key)
    assert (version_id, hashlib.sha256(sealed).hexdigest()) == (
        executed.sealed_version_id,
        executed.sealed_sha256,
    )
    assert sealed.startswith(document)
    audit = await press.check(sealed)
    assert [signature["user_id"] for signature in audit["signatures"]] == [
        str(deal.seller.user_id),
        str(deal.buyer.user_id),
    ]
    assert [event["what"] for event in audit["events"]] == [
        "contract.created",
        "contract.part_signed",
        "contract.signed",
    ]
    last = pypdf.PdfReader(io.BytesIO(sealed)).pages[-1].extract_text()
    assert "Certificate of Signatures" in last
    assert str(contract.sha256) in last

    topics = await office.database.rows("SELECT topic, sequence FROM outbox ORDER BY id")
    assert [(row["topic"], row["sequence"]) for row in topics] == [
        ("contract.created", 1),
        ("contract.signed", 2),
        ("contract.executed", 3),
    ]
    [event] = await office.events("contract.executed", contract.id)
    told = ContractExecuted.model_validate(event)
    assert told.deal == deal
    assert told.sealed.model_dump() == {
        "bucket": "contracts",
        "key": executed.sealed_key,
        "version_id": executed.sealed_version_id,
        "sha256": executed.sealed_sha256,
    }


async def test_an_offer_accepted_twice_makes_one_contract(office: Office) -> None:
    deal = make_deal()
    await office.accept(deal)
    async with office.database.sessions.begin() as session:
        await use_cases.begin(session, accepted(deal))
    assert [await office.run_creation(), await office.run_creation()] == [True, False]
    assert len(await office.database.rows("SELECT id FROM contracts")) == 1


def pictured(address: str) -> Deal:
    deal = make_deal()
    return deal.model_copy(
        update={"game": deal.game.model_copy(update={"thumbnail_url": f"{address}/1.png"})}
    )


async def images_of(office: Office, storage: Storage, deal: Deal) -> list[bytes]:
    contract = await office.contract(deal)
    document, _ = await storage.read(str(contract.document_key), contract.pdf_version_id)
    return [image.data for image in pypdf.PdfReader(io.BytesIO(document)).pages[0].images]


@dataclass
class Pictures:
    """A server that has another picture every time."""

    office: Office
    address: str
    status: str = "200 OK"
    asked: int = 0
    claimed_by_another: bool = False
    """Whether somebody else takes the job while it answers."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        if self.claimed_by_another:
            await self.office.database.rows("UPDATE jobs SET fence = fence + 1 RETURNING id")
        file = io.BytesIO()
        Image.new("RGB", (16, 16), (self.asked * 40, 0, 0)).save(file, "PNG")
        head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(file.getvalue())}\r\n\r\n"
        writer.write(head.encode() + file.getvalue())
        await writer.drain()
        writer.close()


@pytest.fixture
async def pictures(office: Office, storage: Storage, press: Press) -> AsyncIterator[Pictures]:
    found = Pictures(office, "")
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    works = Works(office.database.sessions, storage, press, pictures_origin=found.address)
    found.office = dataclasses.replace(office, works=works)
    yield found
    server.close()


async def test_the_picture_is_fetched_once_and_is_part_of_what_is_frozen(
    pictures: Pictures, storage: Storage
) -> None:
    office, deal = pictures.office, pictured(pictures.address)
    await office.accept(deal)
    assert not await office.run_creation(), "nothing is rendered before the picture is frozen"
    assert await office.run_picture()
    frozen = await office.database.one(
        "SELECT payload->>'thumbnail' AS picture FROM jobs WHERE kind = 'contract.create'"
    )
    assert await office.run_creation()
    contract = await office.contract(deal)
    assert await images_of(office, storage, deal) == [b64decode(frozen["picture"])]

    await office.database.rows("DELETE FROM contracts RETURNING id")
    await office.database.rows(
        "UPDATE jobs SET status = 'PENDING', run_at = clock() WHERE kind = 'contract.create'"
    )
    assert await office.run_creation()
    assert (await office.contract(deal)).sha256 == contract.sha256
    assert (pictures.asked, await office.run_picture()) == (1, False)


async def test_a_fetch_whose_lease_was_lost_freezes_nothing(
    pictures: Pictures,
) -> None:
    office, deal = pictures.office, pictured(pictures.address)
    await office.accept(deal)
    pictures.claimed_by_another = True
    assert await office.run_picture()
    assert await office.database.rows("SELECT id FROM jobs WHERE kind = 'contract.create'") == []


async def test_a_picture_that_is_none_makes_a_contract_without(
    pictures: Pictures, storage: Storage
) -> None:
    pictures.status = "404 Not Found"
    office, deal = pictures.office, pictured(pictures.address)
    elsewhere = pictured("https://169.254.169.254")
    for one in (deal, elsewhere):
        await office.accept(one)
        assert [await office.run_picture(), await office.run_creation()] == [True, True]
        assert await images_of(office, storage, one) == []
    assert pictures.asked == 1


async def test_a_picture_that_stays_away_is_tried_three_times_and_holds_nothing_up(
    pictures: Pictures, storage: Storage
) -> None:
    pictures.status = "503 Service Unavailable"
    office, deal = pictures.office, pictured(pictures.address)
    await office.accept(deal)
    for _ in range(3):
        assert await office.run_picture()
        await office.database.rows("UPDATE jobs SET run_at = clock() RETURNING id")
    assert pictures.asked == 3
    assert [await office.run_picture(), await office.run_creation()] == [False, True]
    assert (await office.contract(deal)).status is S.PENDING_SIGNATURE
    assert await images_of(office, storage, deal) == []


async def test_an_offer_with_a_picture_accepted_twice_makes_one_contract(
    pictures: Pictures,
) -> None:
    office, deal = pictures.office, pictured(pictures.address)
    await office.accept(deal)
    async with office.database.sessions.begin() as session:
        await use_cases.begin(session, accepted(deal))
    assert [await office.run_picture(), await office.run_picture()] == [True, False]
    assert [await office.run_creation(), await office.run_creation()] == [True, False]
    assert len(await office.database.rows("SELECT id FROM contracts")) == 1


async def test_a_document_already_stored_is_taken(office: Office) -> None:
    deal = make_deal()
    contract = await office.draw_up(deal)
    await office.database.rows("DELETE FROM contracts RETURNING id")
    await office.database.rows("UPDATE jobs SET status = 'PENDING', run_at = clock() RETURNING id")
    assert await office.run_creation()
    again = await office.contract(deal)
    assert (again.sha256, again.pdf_version_id) == (contract.sha256, contract.pdf_version_id)


async def test_an_outage_of_the_storage_uses_up_no_attempt(
    office: Office, without_storage: Office, clock: Clock
) -> None:
    deal = make_deal()
    await office.accept(deal)
    for number in range(7):
        await clock.advance(timedelta(seconds=6 * number))
        assert await without_storage.run_creation()
    row = await office.database.one("SELECT status, attempts FROM jobs")
    assert (row["status"], row["attempts"]) == ("PENDING", 0)
    await clock.advance(timedelta(seconds=60))
    assert await office.run_creation()
    assert (await office.contract(deal)).status is S.PENDING_SIGNATURE


async def test_a_contract_that_cannot_be_made_is_void_from_the_start(
    office: Office, clock: Clock
) -> None:
    deal = make_deal()
    await office.accept(deal)
    await office.database.rows(
        "UPDATE jobs SET payload = jsonb_set(payload, '{deal,game,taken_at}',"
        " '\"0001-01-01T00:00:00+14:00\"')"  # no such moment in UTC
    )
    for number in range(5):
        assert not await office.database.rows("SELECT id FROM contracts")
        await clock.advance(timedelta(minutes=10 * number))
        assert await office.run_creation()
    contract = await office.contract(deal)
    assert (contract.status, contract.void_reason) == (S.VOID, VoidReason.NOT_CREATED)
    assert (contract.sha256, contract.pdf_url) == (None, None)
    assert len(await office.events("contract.voided", contract.id)) == 1
    await clock.advance(timedelta(hours=73))
    assert await office.tick() == 0


async def test_a_contract_that_is_not_made_in_time_is_void(office: Office, clock: Clock) -> None:
    deal = make_deal()
    await office.accept(deal)
    await clock.advance(timedelta(hours=72, seconds=1))
    assert await office.tick() == 3
    contract = await office.contract(deal)
    assert (contract.status, contract.void_reason, contract.sha256) == (
        S.VOID,
        VoidReason.NOT_CREATED,
        None,
    )
    assert await office.run_creation()
    assert (await office.contract(deal)).status is S.VOID
    topics = await office.database.rows("SELECT topic FROM outbox")
    assert [row["topic"] for row in topics] == ["contract.voided"]


async def test_a_signed_contract_is_asked_to_be_executed_once(office: Office) -> None:
    contract = await office.draw_up(make_deal())
    await office.begin_execution(contract)
    assert not await office.database.rows("SELECT id FROM contract_execution_jobs")
    await office.sign(contract)
    await asyncio.gather(*(office.begin_execution(contract) for _ in range(10)))
    assert await office.run_execution()
    await office.begin_execution(contract)
    assert not await office.run_execution()
    assert (await job(office))["attempts"] == 1
    assert len(await office.events("contract.executed", contract.id)) == 1


async def test_three_failures_end_in_execution_failed_and_a_retry_mends_it(
    office: Office, without_storage: Office, clock: Clock
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract)
    await office.begin_execution(contract)

    assert await without_storage.run_execution()
    first = await job(office)
    assert (first["status"], first["attempts"]) == ("PENDING", 1)
    assert timedelta(seconds=50) < first["due"] <= timedelta(seconds=60)  # type: ignore[operator]
    assert not await without_storage.run_execution()

    await clock.advance(timedelta(seconds=61))
    assert await without_storage.run_execution()
    second = await job(office)
    assert (second["status"], second["attempts"]) == ("PENDING", 2)
    assert timedelta(seconds=290) < second["due"] <= timedelta(seconds=300)  # type: ignore[operator]
    assert (await office.read(contract.id)).status is S.EXECUTING

    await clock.advance(timedelta(seconds=400))
    assert await without_storage.run_execution()
    third = await job(office)
    assert (third["status"], third["attempts"]) == ("FAILED", 3)
    failed = await office.read(contract.id)
    assert failed.status is S.EXECUTION_FAILED
    assert str(failed.failure).startswith("StorageUnavailable")
    assert len(await office.events("contract.execution_failed", contract.id)) == 1

    async with office.database.sessions.begin() as session:
        await use_cases.retry(session, contract.id, Reader(contract.buyer_id))
    assert (await job(office))["attempts"] == 0
    assert await office.run_execution()
    assert (await office.read(contract.id)).status is S.EXECUTED
    assert len(await office.events("contract.executed", contract.id)) == 1


async def test_of_two_workers_one_does_the_due_job(office: Office) -> None:
    deal = make_deal()
    await office.accept(deal)
    assert sorted(await asyncio.gather(*(office.run_creation() for _ in range(2)))) == [False, True]
    contract = await office.contract(deal)
    await office.sign(contract)
    await office.begin_execution(contract)
    done = await asyncio.gather(*(office.run_execution() for _ in range(2)))
    assert sorted(done) == [False, True]
    row = await job(office)
    assert (row["status"], row["attempts"], row["fence"]) == ("COMPLETED", 1, 1)
    for topic in ("contract.created", "contract.executed"):
        assert len(await office.events(topic, contract.id)) == 1


async def test_a_worker_that_vanished_in_the_last_attempt_leaves_a_failure_not_a_stuck_job(
    office: Office, clock: Clock
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract)
    await office.begin_execution(contract)
    await office.database.rows(
        "UPDATE contract_execution_jobs SET status = 'PROCESSING', attempts = 3, fence = 3,"
        " lease_until = clock() + interval '10 seconds'"
    )
    assert not await office.run_execution()
    assert (await office.read(contract.id)).status is S.EXECUTING
    await clock.advance(timedelta(seconds=11))
    given_up = attempts_total.labels("contract_execution_jobs", "given_up")._value
    before = given_up.get()
    assert await office.run_execution()
    assert (await job(office))["status"] == "FAILED"
    assert (await job(office))["attempts"] == 3
    failed = await office.read(contract.id)
    assert failed.status is S.EXECUTION_FAILED
    assert failed.failure == "The lease of the last attempt ran out."
    assert given_up.get() == before + 1
    async with office.database.sessions.begin() as session:
        staff = Reader(contract.buyer_id, is_staff=True)
        await use_cases.void(session, contract.id, staff, "Broken.")
    assert (await office.read(contract.id)).void_reason is VoidReason.STAFF
    assert not await office.run_execution()


async def test_how_long_a_due_execution_has_waited_is_measured(
    office: Office, clock: Clock
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract)
    await office.begin_execution(contract)
    runner = JobRunner(office.database.sessions, office.works.execution, ContractExecutionJob)
    await clock.advance(timedelta(minutes=5))
    await runner.measure()
    waited = oldest_due_seconds.labels("contract_execution_jobs")._value.get()
    assert 299 < waited < 360
    assert await office.run_execution()
    await runner.measure()
    assert oldest_due_seconds.labels("contract_execution_jobs")._value.get() == 0


async def test_a_sealed_document_left_behind_is_adopted(
    office: Office, storage: Storage, settings: Settings
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract)
    await office.begin_execution(contract)
    async with office.database.sessions() as session:
        execution = await use_cases.gather(session, contract.id)
    assert execution is not None
    left = await office.works._sealed(execution)
    assert await office.run_execution()
    executed = await office.read(contract.id)
    assert (executed.sealed_version_id, executed.sealed_sha256) == (left.version_id, left.sha256)
    found = await asyncio.to_thread(
        storage._client.list_object_versions, Bucket="contracts", Prefix=left.key
    )
    assert [version["VersionId"] for version in found["Versions"]] == [left.version_id]


@pytest.mark.parametrize("what", ["another contract's", "a stranger's"])
async def test_a_foreign_document_in_the_place_of_the_sealed_one_is_not_adopted(
    office: Office, storage: Storage, what: str
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract)
    await office.begin_execution(contract)
    if what == "another contract's":
        other = await office.execute_beside(make_deal())
        foreign, _ = await storage.read(str(other.sealed_key))
    else:
        foreign = b"%PDF-1.7 nothing of ours"
    assert await storage.put_once(f"contracts/{contract.id}/sealed.pdf", foreign)
    assert await office.run_execution()
    assert (await office.read(contract.id)).status is S.EXECUTING
    rows = await office.database.rows(
        "SELECT last_error FROM contract_execution_jobs WHERE contract_id = $1", contract.id
    )
    assert str(rows[0]["last_error"]).startswith(("ForeignSeal", "NotOurSeal"))


async def test_a_document_damaged_in_storage_is_not_sealed(office: Office) -> None:
    """Versions cannot be changed; a wrong one stands for whatever storage might do."""
    contract = await office.draw_up(make_deal())
    other = await office.draw_up(make_deal())
    await office.sign(contract)
    await office.begin_execution(contract)
    await office.database.rows(
        "ALTER TABLE contracts DISABLE TRIGGER words_stay",
    )
    await office.database.rows(
        "UPDATE contracts SET pdf_url = $2, pdf_version_id = $3 WHERE id = $1 RETURNING id",
        contract.id,
        other.pdf_url,
        other.pdf_version_id,
    )
    await office.database.rows("ALTER TABLE contracts ENABLE TRIGGER words_stay")
    assert await office.run_execution()
    row = await job(office)
    assert str(row["last_error"]).startswith("DocumentDamaged")
    assert (await office.read(contract.id)).status is S.EXECUTING
