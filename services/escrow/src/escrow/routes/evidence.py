"""Evidence files over HTTP: announce, upload elsewhere, complete, look."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import evidence_repository
from escrow.errors import (
    EscrowNotFound,
    EvidenceClosed,
    EvidenceNotFound,
    EvidenceNotReady,
    NotYourMove,
    OwnSessionNeeded,
)
from escrow.evidence.storage import PRESIGNED_SECONDS, Storage
from escrow.evidence_schemas import AnnouncedView, AnnounceFile, FileLink, FileView, UploadForm
from escrow.routes.escrows import Body
from escrow.routes.outside import InPerson, Out
from escrow.use_cases import evidence, opening
from shared import clock, idempotency, limits, problems
from shared.auth import Caller
from shared.errors import TooManyRequests
from shared.idempotency import Once
from shared.lifecycle import IllegalMove
from shared.transactions import Transaction

UPLOADS_PER_HOUR = 40
_PLACE = "/v1/escrows/{escrow_id}/evidence"
_FILE = f"{_PLACE}/{{file_id}}"
_COMMAND = (EscrowNotFound, OwnSessionNeeded, *idempotency.REFUSALS)

router = APIRouter(tags=["evidence"])


async def _storage(request: Request) -> Storage:
    storage: Storage = request.app.state.storage
    return storage


Stored = Annotated[Storage, Depends(_storage)]


async def _limit_uploads(caller: InPerson, out: Out) -> None:
    bucket = f"evidence:{caller.user_id}"
    await limits.hit(out.sessions, bucket, limit=UPLOADS_PER_HOUR, per_seconds=3600)


async def _expires_at(session: AsyncSession) -> datetime:
    return await clock.now(session) + timedelta(seconds=PRESIGNED_SECONDS)


@router.post(
    _PLACE,
    response_model=AnnouncedView,
    responses=problems.responses(*_COMMAND, NotYourMove, EvidenceClosed, TooManyRequests),
    dependencies=[Depends(_limit_uploads)],
)
async def announce(
    escrow_id: UUID,
    body: AnnounceFile,
    caller: InPerson,
    storage: Stored,
    once: Once,
) -> Response:
    """A side is about to upload a file; the answer says where to, for 5 minutes."""

    async def command(session: AsyncSession) -> AnnouncedView:
        file = await evidence.announce(
            session,
            escrow_id,
            caller.user_id,
            is_staff=caller.is_staff,
            file_name=body.file_name,
            content_type=body.content_type,
            size=body.size,
        )
        url, fields = storage.upload_form(file.upload_key, file.content_type, file.size)
        expires_at = await _expires_at(session)
        return AnnouncedView(
            file=FileView.model_validate(file),
            upload=UploadForm(url=url, fields=fields, expires_at=expires_at),
        )

    return await once(caller.user_id, command, secret=True)


@router.post(
    f"{_FILE}/complete",
    response_model=FileView,
    responses=problems.responses(*_COMMAND, EvidenceNotFound, IllegalMove),
)
async def complete(
    escrow_id: UUID,
    file_id: UUID,
    caller: InPerson,
    once: Once,
    _body: Body = None,
) -> Response:
    """The file has been uploaded; its check makes it READY, or REFUSED with a reason."""

    async def command(session: AsyncSession) -> FileView:
        file = await evidence.complete(
            session, escrow_id, file_id, caller.user_id, is_staff=caller.is_staff
        )
        return FileView.model_validate(file)

    return await once(caller.user_id, command)


@router.get(_PLACE, responses=problems.responses(EscrowNotFound))
async def list_files(escrow_id: UUID, session: Transaction, caller: Caller) -> list[FileView]:
    """What is attached to this trade, and the caller's own files; oldest first."""
    await opening.find(session, escrow_id, caller.user_id, is_staff=caller.is_staff)
    found = await evidence_repository.visible(session, escrow_id, caller.user_id)
    return [FileView.model_validate(file) for file in found]


@router.get(_FILE, responses=problems.responses(EscrowNotFound, EvidenceNotFound))
async def read_file(
    escrow_id: UUID, file_id: UUID, session: Transaction, caller: Caller
) -> FileView:
    """One file's state."""
    file = await evidence.find(
        session, escrow_id, file_id, caller.user_id, is_staff=caller.is_staff
    )
    return FileView.model_validate(file)


@router.get(
    f"{_FILE}/download",
    responses=problems.responses(EscrowNotFound, EvidenceNotFound, EvidenceNotReady),
)
async def download(
    escrow_id: UUID, file_id: UUID, session: Transaction, caller: Caller, storage: Stored
) -> FileLink:
    """Where to download a file, for 5 minutes; every look is recorded."""
    file = await evidence.look(
        session, escrow_id, file_id, caller.user_id, is_staff=caller.is_staff
    )
    assert file.sha256 is not None
    name = f"evidence-{file.id}{file.content_type.suffix}"
    return FileLink(
        url=storage.download_url(file.clean_key, file.content_type.served_as, name),
        sha256=file.sha256,
        expires_at=await _expires_at(session),
    )
