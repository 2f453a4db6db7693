"""Files as evidence: announced, uploaded, checked, then attached to a delivery or a dispute."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import evidence_repository, repository
from escrow.errors import (
    EvidenceAttached,
    EvidenceClosed,
    EvidenceNotFound,
    EvidenceNotReady,
    NotYourMove,
    TooManyFiles,
)
from escrow.evidence_models import ContentType, EvidenceFile, EvidenceWork
from escrow.lifecycle import EVIDENCE, EscrowStatus, EvidenceAction, EvidenceStatus, Role
from escrow.models import Escrow
from escrow.use_cases import moves
from shared import audit, clock, jobs, telemetry
from shared.ids import new_id

FILES_AT_MOST = 10
"""A delivery's, and each side's in one dispute."""
UPLOAD_DISCARDED_AFTER = timedelta(minutes=10)
"""The address of an upload is dead by then; whatever was put there last goes unread."""
UNUSED_AFTER = timedelta(days=1)
CHECK_ATTEMPTS = 5
_OPEN = frozenset({EscrowStatus.FUNDS_HELD, EscrowStatus.DELIVERED, EscrowStatus.DISPUTED})


async def announce(
    session: AsyncSession,
    escrow_id: UUID,
    user_id: UUID,
    *,
    is_staff: bool,
    file_name: str,
    content_type: ContentType,
    size: int,
) -> EvidenceFile:
    """A side is about to upload a file.

    Raises:
        EscrowNotFound: none, or the caller has no part in it.
        NotYourMove: the caller is no side of the trade.
        EvidenceClosed: nothing is to be shown any more, or yet.
    """
    escrow = await repository.lock(session, escrow_id)
    telemetry.bind_trade(escrow.root_offer_id)
    if moves.role_of(escrow, user_id, is_staff=is_staff) is Role.STAFF:
        raise NotYourMove("add evidence", (Role.BUYER.value, Role.SELLER.value))
    if escrow.status not in _OPEN:
        raise EvidenceClosed(escrow.status.value)
    file = EvidenceFile(
        id=new_id(),
        escrow_id=escrow.id,
        uploader_id=user_id,
        file_name=file_name,
        content_type=content_type,
        size=size,
    )
    session.add(file)
    await session.flush()
    for after in (UPLOAD_DISCARDED_AFTER, UNUSED_AFTER):
        seconds = after.total_seconds()
        await _enqueue(session, EvidenceWork.DISCARD, file, f"{seconds:g}", seconds)
    await _note(session, file, "announced", file_name=file_name)
    return file


async def complete(
    session: AsyncSession, escrow_id: UUID, file_id: UUID, user_id: UUID, *, is_staff: bool
) -> EvidenceFile:
    """The uploader has uploaded it: it will be checked.

    Raises:
        EscrowNotFound, EvidenceNotFound: as they say; only the uploader knows of it yet.
        IllegalMove: that was said before, or the time is over.
    """
    escrow = await repository.lock(session, escrow_id)
    moves.role_of(escrow, user_id, is_staff=is_staff)
    telemetry.bind_trade(escrow.root_offer_id)
    file = await _own(session, escrow_id, file_id, user_id)
    file.status = EVIDENCE.after(file.status, EvidenceAction.COMPLETE)
    await _enqueue(session, EvidenceWork.CHECK, file, "")
    await _note(session, file, "uploaded")
    await session.flush()
    return file


async def finish_check(
    session: AsyncSession,
    escrow_id: UUID,
    file_id: UUID,
    *,
    sha256: str | None = None,
    reason: str | None = None,
) -> None:
    """The check has kept clean bytes, or refused the file for a reason; the upload goes."""
    await repository.lock(session, escrow_id)
    file = await evidence_repository.file(session, escrow_id, file_id)
    if file.status is not EvidenceStatus.CHECKING:
        return
    action = EvidenceAction.ACCEPT if reason is None else EvidenceAction.REFUSE
    file.status = EVIDENCE.after(file.status, action)
    file.sha256, file.reason = sha256, reason
    await _enqueue(session, EvidenceWork.DISCARD, file, "checked")
    await _note(session, file, file.status.value.lower(), sha256=sha256, reason=reason)
    await session.flush()


async def find(
    session: AsyncSession, escrow_id: UUID, file_id: UUID, user_id: UUID, *, is_staff: bool
) -> EvidenceFile:
    """A file that the caller may know of: attached, or the caller's own.

    Raises:
        EscrowNotFound, EvidenceNotFound: as they say.
    """
    escrow = await repository.escrow(session, escrow_id)
    moves.role_of(escrow, user_id, is_staff=is_staff)
    file = await evidence_repository.file(session, escrow_id, file_id)
    if not file.is_attached and file.uploader_id != user_id:
        raise EvidenceNotFound(file_id)
    return file


async def look(
    session: AsyncSession, escrow_id: UUID, file_id: UUID, user_id: UUID, *, is_staff: bool
) -> EvidenceFile:
    """A clean file that the caller is about to download. Every look is recorded.

    Raises:
        EscrowNotFound, EvidenceNotFound: see `find`.
        EvidenceNotReady: there are no clean bytes of it.
    """
    file = await find(session, escrow_id, file_id, user_id, is_staff=is_staff)
    if file.status is not EvidenceStatus.READY:
        raise EvidenceNotReady(file.id, file.status.value)
    await _note(session, file, "viewed", sha256=file.sha256)
    return file


async def attach(
    session: AsyncSession,
    escrow: Escrow,
    user_id: UUID | None,
    file_ids: Sequence[UUID],
    *,
    delivery_id: UUID | None = None,
    dispute_id: UUID | None = None,
) -> int:
    """Attach files of the user's own to a delivery or a dispute of the locked escrow, for good.

    Returns:
        How many.

    Raises:
        EvidenceNotFound: not of this escrow, or not the user's own.
        EvidenceNotReady: it has not passed the check.
        EvidenceAttached: it belongs to something already.
        TooManyFiles: the side has attached enough.
    """
    if user_id is None or not file_ids:
        return 0
    await session.flush()  # what they are attached to has its row first
    before = 0
    if dispute_id is not None:
        before = await evidence_repository.count_in_dispute(session, dispute_id, user_id)
    if before + len(file_ids) > FILES_AT_MOST:
        raise TooManyFiles(FILES_AT_MOST, escrow.status.value)
    for file_id in file_ids:
        file = await _own(session, escrow.id, file_id, user_id)
        if file.is_attached:
            raise EvidenceAttached(file.id, file.status.value)
        if file.status is not EvidenceStatus.READY:
            raise EvidenceNotReady(file.id, file.status.value)
        file.delivery_id, file.dispute_id = delivery_id, dispute_id
        await _note(session, file, "attached", sha256=file.sha256)
        await session.flush()
    return len(file_ids)


async def discard(session: AsyncSession, escrow_id: UUID, file_id: UUID) -> Sequence[str] | None:
    """Let go of a file that was not used in time.

    Returns:
        Keys of what may be deleted now; None while the file is being checked.
    """
    await repository.lock(session, escrow_id)
    file = await evidence_repository.file(session, escrow_id, file_id)
    if file.status is EvidenceStatus.CHECKING:
        return None
    is_unused = not file.is_attached and file.status is not EvidenceStatus.EXPIRED
    if is_unused and await clock.now(session) >= file.created_at + UNUSED_AFTER:
        file.status = EVIDENCE.after(file.status, EvidenceAction.EXPIRE)
        await _note(session, file, "expired")
        await session.flush()
    is_gone = file.status is EvidenceStatus.EXPIRED and file.sha256 is not None
    return [file.upload_key, file.clean_key] if is_gone else [file.upload_key]


async def _own(
    session: AsyncSession, escrow_id: UUID, file_id: UUID, user_id: UUID
) -> EvidenceFile:
    file = await evidence_repository.file(session, escrow_id, file_id)
    if file.uploader_id != user_id:
        raise EvidenceNotFound(file_id)
    return file


async def _enqueue(
    session: AsyncSession,
    work: EvidenceWork,
    file: EvidenceFile,
    when: str,
    delay_seconds: float = 0,
) -> None:
    await jobs.enqueue(
        session,
        work,
        f"{work.value}:{file.id}:{when}",
        {"escrow_id": str(file.escrow_id), "file_id": str(file.id)},
        max_attempts=CHECK_ATTEMPTS,
        delay_seconds=delay_seconds,
    )


async def _note(session: AsyncSession, file: EvidenceFile, what: str, **details: Any) -> None:
    await audit.record(
        session,
        f"escrow.evidence_{what}",
        "escrow",
        file.escrow_id,
        evidence=str(file.id),
        **details,
    )
