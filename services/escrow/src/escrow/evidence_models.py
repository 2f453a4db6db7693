"""The table of files that the sides bring as evidence, and the work that they need."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from escrow.lifecycle import EVIDENCE, EvidenceStatus
from escrow.models import Dated
from shared.database import Model, text_enum
from shared.ids import new_id


class EvidenceWork(StrEnum):
    """The leased work of evidence."""

    CHECK = "evidence.check"
    DISCARD = "evidence.discard"


class ContentType(StrEnum):
    """What a file may say it is; it must be that, by its own bytes."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    PDF = "application/pdf"
    TEXT = "text/plain"

    @property
    def is_image(self) -> bool:
        """It is made anew from its pixels, so a browser may be told what it is."""
        return self in {ContentType.PNG, ContentType.JPEG, ContentType.WEBP}

    @property
    def served_as(self) -> str:
        return self.value if self.is_image else "application/octet-stream"

    @property
    def suffix(self) -> str:
        return {"jpeg": ".jpg", "plain": ".txt"}.get(name := self.value.split("/")[1], f".{name}")


class EvidenceFile(Dated, Model):
    """A file of one side; once it is attached to a delivery or a dispute it never changes."""

    __tablename__ = "evidence_files"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    escrow_id: Mapped[UUID]
    uploader_id: Mapped[UUID]
    file_name: Mapped[str]
    """As the uploader calls it; for people to read, never part of a key or a header."""
    content_type: Mapped[ContentType] = mapped_column(text_enum(ContentType))
    size: Mapped[int]
    """Bytes that were announced, and that alone could be uploaded."""
    status: Mapped[EvidenceStatus] = mapped_column(
        text_enum(EvidenceStatus), default=EVIDENCE.initial
    )
    reason: Mapped[str | None]
    """Why it was refused."""
    sha256: Mapped[str | None]
    """Of the clean bytes, which are what is shown; an image's are not those uploaded."""
    delivery_id: Mapped[UUID | None]
    dispute_id: Mapped[UUID | None]

    @property
    def is_attached(self) -> bool:
        return self.delivery_id is not None or self.dispute_id is not None

    @property
    def upload_key(self) -> str:
        """Where the uploader may put it; it is read once, by the check, and deleted."""
        return f"incoming/{self.escrow_id}/{self.id}"

    @property
    def clean_key(self) -> str:
        """Where the bytes lie that are shown."""
        return clean_key(self, self.sha256)


def clean_key(file: EvidenceFile, sha256: str | None) -> str:
    return f"clean/{file.escrow_id}/{file.id}/{sha256}"
