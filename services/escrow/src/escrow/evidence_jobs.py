"""Leased work on evidence: uploads are checked, and deleted when nobody needs them."""

import hashlib
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import evidence_repository
from escrow.evidence.clean import Unfit, clean
from escrow.evidence.storage import Storage, StorageUnavailable
from escrow.evidence_models import EvidenceFile, EvidenceWork, clean_key
from escrow.lifecycle import EvidenceStatus
from escrow.use_cases import evidence
from shared import crash, telemetry
from shared.database import Sessions
from shared.jobs import Finish, Job, Postpone, Work

STORAGE_AGAIN_SECONDS = 5
BEING_CHECKED_AGAIN_SECONDS = 60

log = telemetry.get_logger()


async def _nothing(_session: AsyncSession) -> None:
    """There is nothing to write."""


class EvidenceJobs:
    """The kinds of work and how each is done."""

    def __init__(self, sessions: Sessions, storage: Storage) -> None:
        self._sessions = sessions
        self._storage = storage

    def works(self) -> Mapping[str, Work[Job]]:
        return {
            EvidenceWork.CHECK.value: Work(self.check, _refuse),
            EvidenceWork.DISCARD.value: Work(self.discard, _leave),
        }

    async def check(self, job: Job) -> Finish:
        """Keep what is clean of an upload. Done again after a crash it stores the same bytes under
        the same key, which is no change.
        """
        escrow_id, file_id = _ids(job)
        async with self._sessions() as session:
            file = await evidence_repository.file(session, escrow_id, file_id)
        if file.status is not EvidenceStatus.CHECKING:
            return _nothing
        sha256, reason = None, None
        try:
            sha256 = await self._keep_clean(file)
        except Unfit as refusal:
            reason = str(refusal)
        except StorageUnavailable as error:
            # An outage must not use up attempts.
            log.warning("evidence.storage_unavailable", reason=error.detail)
            raise Postpone(STORAGE_AGAIN_SECONDS) from error

        async def finish(session: AsyncSession) -> None:
            await evidence.finish_check(session, escrow_id, file_id, sha256=sha256, reason=reason)

        return finish

    async def _keep_clean(self, file: EvidenceFile) -> str:
        """Raises: Unfit, StorageUnavailable."""
        uploaded = await self._storage.read(file.upload_key, file.size + 1)
        if uploaded is None:
            raise Unfit("Nothing was uploaded.")
        if len(uploaded) != file.size:
            raise Unfit(f"It does not have the {file.size} bytes that were announced.")
        kept = await clean(uploaded, file.content_type.value)
        digest = hashlib.sha256(kept).hexdigest()
        crash.point("evidence.after_clean")
        await self._storage.put_once(clean_key(file, digest), kept, file.content_type.served_as)
        crash.point("evidence.after_put_before_row")
        return digest

    async def discard(self, job: Job) -> Finish:
        """Delete the upload, and after a day also clean bytes that nobody has attached."""
        async with self._sessions.begin() as session:
            keys = await evidence.discard(session, *_ids(job))
        if keys is None:
            raise Postpone(BEING_CHECKED_AGAIN_SECONDS)
        try:
            for key in keys:
                await self._storage.delete(key)
        except StorageUnavailable as error:
            raise Postpone(BEING_CHECKED_AGAIN_SECONDS) from error
        return _nothing


async def _refuse(session: AsyncSession, job: Job, error: str) -> None:
    log.error("evidence.not_checked", payload=job.payload, error=error)
    await evidence.finish_check(session, *_ids(job), reason="The file could not be examined.")


async def _leave(_session: AsyncSession, job: Job, error: str) -> None:
    """Objects that nobody can reach stay in the bucket; a person must look."""
    log.error("evidence.not_discarded", payload=job.payload, error=error)


def _ids(job: Job) -> tuple[UUID, UUID]:
    return UUID(job.payload["escrow_id"]), UUID(job.payload["file_id"])
