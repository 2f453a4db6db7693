"""How money moves outside: what a provider reports about its objects, checked when it comes in.

An amount here is in the smallest unit of the object's own currency, which is not always ours.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, cast
from uuid import UUID

from pydantic import (
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


class ObjectKind(StrEnum):
    PAYMENT = "payment"
    TRANSFER = "transfer"
    REFUND = "refund"
    CHARGEBACK = "dispute"
    """The bank takes a payment back; Stripe calls it a dispute."""


def _ours(value: Any, validate: ValidatorFunctionWrapHandler) -> UUID | None:
    """Metadata is free text: whatever is no id of ours names no intent."""
    try:
        return cast("UUID | None", validate(value))
    except ValidationError:
        return None


class Shown(BaseModel):
    """One object as the provider showed it just now."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    id: str
    amount: int = Field(strict=True)
    currency: str
    intent_id: Annotated[UUID | None, WrapValidator(_ours)] = Field(
        default=None, validation_alias=AliasPath("metadata", "intent_id")
    )
    """The intent we put into its metadata."""
    transfer_group: str | None = None


class Payment(Shown):
    kind: ClassVar[ObjectKind] = ObjectKind.PAYMENT

    status: str
    received: int = Field(strict=True, validation_alias="amount_received")
    charge_id: str | None = Field(default=None, validation_alias="latest_charge")

    @property
    def is_final(self) -> bool:
        """Nothing more happens to it."""
        return self.status in {"succeeded", "canceled"}


class Transfer(Shown):
    kind: ClassVar[ObjectKind] = ObjectKind.TRANSFER

    destination: str
    source_transaction: str | None
    is_reversed: bool = Field(validation_alias="reversed")

    @property
    def is_final(self) -> bool:
        """A transfer is done when it is made."""
        return True


class Refund(Shown):
    kind: ClassVar[ObjectKind] = ObjectKind.REFUND

    status: str
    payment_intent: str | None

    @property
    def is_final(self) -> bool:
        """Nothing more happens to it, as far as we follow it."""
        return self.status in {"succeeded", "failed", "canceled"}


Seen = Payment | Transfer | Refund


class Chargeback(BaseModel):
    """What Stripe says of a payment that the bank takes back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    payment_intent: str | None
    status: str
    amount: int = Field(strict=True)
    currency: str

    @property
    def is_won(self) -> bool:
        """The bank leaves us the money."""
        return self.status in {"won", "warning_closed", "prevented"}

    @property
    def is_lost(self) -> bool:
        """The bank keeps the money."""
        return self.status == "lost"


class ProviderFee(BaseModel):
    """What the provider kept of one payment."""

    model_config = ConfigDict(frozen=True)

    reference: str
    amount: int = Field(strict=True, ge=0)
    currency: str


class OnboardingLink(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    expires_at: datetime


class InDoubt(Exception):
    """The answer is lost, or says nothing: the provider may or may not have done it."""


class AskAgain(Exception):
    """The provider has certainly not looked at the request; the same one may be repeated."""


class Refused(Exception):
    """The provider has certainly not done it and never will under this key."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
