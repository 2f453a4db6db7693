"""Bodies and answers of evidence files."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from escrow.evidence_models import ContentType
from escrow.lifecycle import EvidenceStatus
from escrow.use_cases.evidence import FILES_AT_MOST
from shared.web import RequestBody, View

LARGEST_BYTES = 10 * 1024 * 1024


def _is_plain_name(name: str) -> str:
    if not name.isprintable() or name.startswith(".") or "/" in name or "\\" in name:
        raise ValueError("must be a file's name without a folder, and printable")
    return name


class AnnounceFile(RequestBody):
    file_name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=120),
        AfterValidator(_is_plain_name),
    ]
    content_type: ContentType
    size: int = Field(ge=1, le=LARGEST_BYTES)
    """Bytes; the upload must have exactly as many."""


EvidenceIds = Annotated[tuple[UUID, ...], Field(max_length=FILES_AT_MOST)]
"""Files of the caller's own that are READY; they stay attached for good."""


class FileView(View):
    id: UUID
    escrow_id: UUID
    uploader_id: UUID
    file_name: str
    content_type: ContentType
    size: int
    """Bytes, as announced."""
    status: EvidenceStatus
    reason: str | None
    """Why it was refused."""
    sha256: str | None
    """Of what is shown; images are made anew from their pixels."""
    delivery_id: UUID | None
    dispute_id: UUID | None
    created_at: datetime


class UploadForm(View):
    """POST multipart/form-data: these fields first, then the file as `file`; the type and the size
    must be as announced.
    """

    url: str
    fields: dict[str, str]
    expires_at: datetime


class AnnouncedView(View):
    file: FileView
    upload: UploadForm


class FileLink(View):
    """Downloads this one file; nothing is to be opened in a browser."""

    url: str
    sha256: str
    expires_at: datetime
