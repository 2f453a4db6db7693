"""A webhook is believed only when Stripe has signed exactly these bytes, just now."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import stripe
from pydantic import AliasPath, BaseModel, ConfigDict, Field, ValidationError

from escrow.errors import WebhookRefused
from escrow.rails import ObjectKind

MAX_BYTES = 256 * 1024
TOLERANCE_SECONDS = 300


class Notice(BaseModel):
    """What a webhook says has happened; the object itself is always fetched afterwards."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1, max_length=255)
    type: str = Field(min_length=1, max_length=255)
    created: int = Field(strict=True)
    livemode: bool = Field(strict=True)
    account: str | None = None
    object_id: str = Field(
        default="", validation_alias=AliasPath("data", "object", "id"), max_length=255
    )
    """Empty for objects without an id, for example a balance."""
    payment_intent: Any = Field(
        default=None, validation_alias=AliasPath("data", "object", "payment_intent")
    )

    @property
    def created_at(self) -> datetime:
        return datetime.fromtimestamp(self.created, UTC)

    @property
    def look_at(self) -> tuple[ObjectKind, str] | None:
        """Which object to fetch; None for news that moves no money of ours."""
        if not self.object_id:
            return None
        match self.type.split("."):
            case ["payment_intent", _]:
                kind = ObjectKind.PAYMENT
            case ["transfer", _]:
                kind = ObjectKind.TRANSFER
            case ["refund", _]:
                kind = ObjectKind.REFUND
            case ["charge", "dispute", _]:
                kind = ObjectKind.CHARGEBACK
            case ["charge", _] if isinstance(self.payment_intent, str):
                return ObjectKind.PAYMENT, self.payment_intent
            case _:
                return None
        return kind, self.object_id


def read(
    body: bytes, signature: str | None, secrets: Sequence[str], *, is_live: bool
) -> tuple[Notice, dict[str, Any]]:
    """The notice in a webhook and its whole payload.

    Raises:
        WebhookRefused: not signed with an active secret over these bytes, too old, from the
            future, for another account or mode, or no event at all.
    """
    text = _text(body)
    if not any(_is_signed(text, signature, secret) for secret in secrets):
        raise WebhookRefused("The signature is missing, wrong or too old.")
    if _signed_at(signature or "") > time.time() + TOLERANCE_SECONDS:
        raise WebhookRefused("The signature is from the future.")
    try:
        payload = _Payload.model_validate_json(body).model_dump()
        notice = Notice.model_validate(payload)
    except ValidationError as error:
        raise WebhookRefused("This is not a Stripe event.") from error
    if notice.livemode != is_live or notice.account is not None:
        raise WebhookRefused("The event is for another account or mode.")
    return notice, payload


class _Payload(BaseModel):
    model_config = ConfigDict(extra="allow")

    object: str = Field(pattern="^event$")


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise WebhookRefused("This is not a Stripe event.") from error


def _is_signed(text: str, signature: str | None, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(text, signature, secret, TOLERANCE_SECONDS)
    except stripe.SignatureVerificationError:
        return False
    return True


def _signed_at(signature: str) -> int:
    """The signed time, read as the check of the signature has read it: the first `t`."""
    parts = (part.partition("=") for part in signature.split(","))
    return next(int(value) for name, _, value in parts if name == "t")
