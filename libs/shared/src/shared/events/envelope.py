"""CloudEvents 1.0 in Kafka's binary mode: attributes are headers, the body is the event as JSON."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"


class Event(BaseModel):
    """A fact another service may rely on. Readers ignore fields they do not know, so that a newer
    writer never stops them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: ClassVar[str]
    """The name of the fact, and the `ce_type`."""
    source: ClassVar[str]
    """The service that says it."""
    aggregate_field: ClassVar[str]
    """Names the field whose value is the aggregate's id, the `ce_subject`."""
    key_fields: ClassVar[tuple[str, ...]] = ("root_offer_id",)
    """Name the fields that make Kafka's key: everything of one trade shares the root offer."""
    compacted: ClassVar[bool] = False
    """State topics keep the last fact per key for ever, so that projections can be rebuilt."""

    version: int
    """The aggregate's row version when the fact was recorded; consumers skip what they passed."""

    @property
    def aggregate_id(self) -> str:
        return str(getattr(self, self.aggregate_field))

    @property
    def key(self) -> str:
        return ":".join(str(getattr(self, field)) for field in self.key_fields)

    @property
    def correlation_id(self) -> str | None:
        """The whole trade shares one: its root offer's id. None outside of a trade."""
        return self.key if self.key_fields == ("root_offer_id",) else None


def unnumbered_headers(
    *,
    event_id: UUID,
    type: str,  # noqa: A002 - CloudEvents calls it so
    source: str,
    subject: str,
    traceparent: str | None = None,
    correlation_id: str | None = None,
) -> dict[str, str]:
    """An event's headers but for `ce_sequence` and `ce_time`, which the database gives it."""
    named = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": str(event_id),
        "ce_type": type,
        "ce_source": f"/{source}",
        "ce_subject": subject,
        "content-type": CONTENT_TYPE,
    }
    if traceparent:
        named["traceparent"] = traceparent
    if correlation_id:
        named["correlation_id"] = correlation_id
    return named


class Envelope(BaseModel):
    """The headers of one event."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    traceparent: str | None = None
    correlation_id: str | None = None

    def headers(self) -> dict[str, str]:
        """Kafka headers, all strings."""
        said = self.model_dump(exclude={"time", "sequence"})
        return unnumbered_headers(**said) | {
            "ce_time": self.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "ce_sequence": str(self.sequence),
        }

    @classmethod
    def from_headers(cls, headers: dict[str, Any]) -> Self:
        """Read the headers of a received message.

        Raises:
            pydantic.ValidationError: an attribute is missing or malformed.
        """
        return cls.model_validate(
            {
                "event_id": headers.get("ce_id"),
                "type": headers.get("ce_type"),
                "source": str(headers.get("ce_source", "")).removeprefix("/"),
                "subject": headers.get("ce_subject"),
                "time": headers.get("ce_time"),
                "sequence": headers.get("ce_sequence"),
                "traceparent": headers.get("traceparent"),
                "correlation_id": headers.get("correlation_id"),
            }
        )
