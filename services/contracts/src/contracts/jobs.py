"""Leased work: documents are made and sealed, deadlines pass."""

import hashlib
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository, thumbnails, use_cases
from contracts.documents.inputs import Draft
from contracts.documents.press import Press, PressFailed
from contracts.documents.storage import Storage, StorageUnavailable
from contracts.models import ContractExecutionJob
from contracts.use_cases import Execution, StoredDocument
from shared import crash, telemetry
from shared.database import Sessions
from shared.deadlines import Expiry
from shared.events.contracts import SealedDocument
from shared.jobs import Finish, Job, Postpone, Work

STORAGE_AGAIN_SECONDS = 5

log = telemetry.get_logger()


class DocumentDamaged(Exception):
    """Storage returned other bytes than those that were stored."""


class ForeignSeal(Exception):
    """Under the sealed document's key lies a document sealed for something else."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Works:
    """The jobs of contracts, over one storage and one press."""

    def __init__(
        self,
        sessions: Sessions,
        storage: Storage,
        press: Press,
        *,
        pictures_origin: str | None = None,
    ) -> None:
        self._sessions = sessions
        self._storage = storage
        self._press = press
        self._pictures_origin = pictures_origin

    @property
    def picture(self) -> Work[Job]:
        return Work(perform=self._picture, give_up=_go_on_without_picture)

    @property
    def creation(self) -> Work[Job]:
        return Work(perform=self._create, give_up=_give_up_creation)

    @property
    def execution(self) -> Work[ContractExecutionJob]:
        return Work(perform=self._execute, give_up=_give_up_execution)

    async def _picture(self, job: Job) -> Finish:
        """Fetch the game's picture before anything is rendered; without one the contract goes on
        as well.
        """
        draft = Draft.model_validate(job.payload)
        address = draft.deal.game.thumbnail_url or ""
        try:
            found = await thumbnails.fetch(address, self._pictures_origin)
            picture = await self._press.remake(found)
        except (thumbnails.NoThumbnail, PressFailed) as error:
            log.warning("contract.no_thumbnail", reason=str(error))
            return _freeze(draft)
        return _freeze(draft.model_copy(update={"thumbnail": picture}))

    async def _create(self, job: Job) -> Finish:
        """Render, store under the hash, then let the row say so."""
        draft = Draft.model_validate(job.payload)
        async with self._sessions() as session:
            terms = await repository.terms(session, draft.template_version)
        document = await self._press.render(job.payload, terms)
        crash.point("pdf.after_render")
        digest = sha256(document)
        key = f"contracts/{draft.contract_id}/{digest}.pdf"
        try:
            version_id = await self._storage.put_once(key, document)
            crash.point("s3.after_put_before_row")
            if version_id is None:
                found, version_id = await self._storage.read(key)
                _check(found, digest)
        except StorageUnavailable as error:
            # An outage must not use up attempts: the time to sign ends it, nothing else.
            log.warning("contract.storage_unavailable", reason=error.detail)
            raise Postpone(STORAGE_AGAIN_SECONDS) from error
        stored = StoredDocument(f"s3://{self._storage.bucket}/{key}", version_id, digest)
        crash.point("pdf.after_put_before_hash_row")

        async def finish(session: AsyncSession) -> None:
            await use_cases.create(session, draft, stored)

        return finish

    async def _execute(self, job: ContractExecutionJob) -> Finish:
        """Seal what was signed, store it once, then let the row say so."""
        async with self._sessions() as session:
            execution = await use_cases.gather(session, job.contract_id)
        if execution is None:
            return _nothing_left
        sealed = await self._sealed(execution)

        async def finish(session: AsyncSession) -> None:
            await use_cases.execute(session, job.contract_id, sealed)

        return finish

    async def _sealed(self, execution: Execution) -> SealedDocument:
        certificate = execution.certificate
        document, _ = await self._storage.read(
            execution.document_key, execution.document_version_id
        )
        _check(document, certificate.document_sha256)
        sealed = await self._press.seal(document, certificate.model_dump(mode="json"))
        version_id = await self._storage.put_once(execution.sealed_key, sealed)
        crash.point("seal.after_put_before_row")
        if version_id is None:
            sealed, version_id = await self._storage.read(execution.sealed_key)
            await self._adopt(sealed, execution)
        return SealedDocument(
            bucket=self._storage.bucket,
            key=execution.sealed_key,
            version_id=version_id,
            sha256=sha256(sealed),
        )

    async def _adopt(self, sealed: bytes, execution: Execution) -> None:
        """An earlier attempt stored it: it counts if it is our seal over the signed document."""
        audit = await self._press.check(sealed)
        expected = (str(execution.contract_id), execution.certificate.document_sha256)
        if (audit["contract_id"], audit["document_sha256"]) != expected:
            raise ForeignSeal(f"{execution.sealed_key} is sealed for {audit['contract_id']}.")
        log.info("contract.sealed_document_adopted", contract_id=str(execution.contract_id))


def _check(data: bytes, expected: str) -> None:
    if sha256(data) != expected:
        raise DocumentDamaged(f"Expected {expected}, storage holds {sha256(data)}.")


def _freeze(draft: Draft) -> Finish:
    async def finish(session: AsyncSession) -> None:
        await use_cases.freeze(session, draft)

    return finish


async def _go_on_without_picture(session: AsyncSession, job: Job, error: str) -> None:
    log.warning("contract.no_thumbnail", reason=error)
    await use_cases.freeze(session, Draft.model_validate(job.payload))


async def _nothing_left(_session: AsyncSession) -> None:
    """The contract has moved on."""


async def _give_up_creation(session: AsyncSession, job: Job, error: str) -> None:
    draft = Draft.model_validate(job.payload)
    await use_cases.give_up(session, draft)
    log.error("contract.not_created", contract_id=str(draft.contract_id), error=error)


async def _give_up_execution(session: AsyncSession, job: ContractExecutionJob, error: str) -> None:
    await use_cases.fail(session, job.contract_id, error)


def expiries() -> Mapping[str, Expiry]:
    """What the deadlines of contracts do."""
    over = Expiry(lock=_locked, expire=_expire)
    due = Expiry(lock=_locked, expire=_remind)
    return {use_cases.SIGN_BY: over, **dict.fromkeys(use_cases.REMINDERS, due)}


async def _locked(session: AsyncSession, contract_id: UUID) -> UUID:
    """Locks the contract if it is there; its creation may still be going on."""
    await repository.lock(session, contract_id)
    return contract_id


async def _expire(session: AsyncSession, contract_id: UUID) -> None:
    await use_cases.expire(session, contract_id)


async def _remind(session: AsyncSession, contract_id: UUID) -> None:
    await use_cases.remind(session, contract_id)
