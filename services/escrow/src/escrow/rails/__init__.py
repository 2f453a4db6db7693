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
    REVERSAL = "reversal"
    """A transfer that comes back."""
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


class Reversal(Shown):
    kind: ClassVar[ObjectKind] = ObjectKind.REVERSAL

    transfer: str

    @property
    def is_final(self) -> bool:
        """A reversal is done when it is made."""
        return True


Seen = Payment | Transfer | Refund | Reversal


class DisputeMovement(BaseModel):
    """What a chargeback has moved on our balance, and what Stripe kept for it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    fee: int = Field(strict=True, ge=0)
    currency: str


class Chargeback(BaseModel):
    """What Stripe says of a payment that the bank takes back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    payment_intent: str | None
    status: str
    amount: int = Field(strict=True)
    currency: str
    movements: tuple[DisputeMovement, ...] = Field(
        default=(), validation_alias="balance_transactions"
    )

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


class BalanceTransaction(BaseModel):
    """One line of Stripe's own books of our balance."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    type: str
    amount: int = Field(strict=True)
    """Cents that came, negative for what left, before the fee."""
    fee: int = Field(strict=True)
    currency: str
    created: datetime
    source: Any = None
    """The object that moved the money, expanded."""

    @property
    def reference(self) -> str:
        """What our ledger calls the movement: a payment where Stripe names its charge."""
        if not isinstance(self.source, dict):
            return str(self.source or self.id)
        is_charge = self.source.get("object") == "charge"
        return str((is_charge and self.source.get("payment_intent")) or self.source["id"])


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
