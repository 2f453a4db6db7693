"""Bodies of escrow's requests and answers; money is in cents."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from escrow.evidence_schemas import EvidenceIds, FileView
from escrow.lifecycle import DeliveryStatus, EscrowStatus, Ownership, Settling
from escrow.milestone_models import MilestoneEscrow, MilestonePlan
from escrow.models import Escrow, LedgerEntry, LedgerTransaction
from escrow.postings import Account, Cause
from escrow.use_cases.outcomes import shares
from escrow.use_cases.settling import is_waiting
from shared.money import MAX_CENTS, Currency, Rail
from shared.web import RequestBody, View


class Nothing(RequestBody):
    """A command that needs no words; whatever is sent beyond `{}` is refused."""


class Deliver(RequestBody):
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    description: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)
    ]
    evidence_ids: EvidenceIds = ()


class Refund(RequestBody):
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


MOST_MILESTONES = 20


class ProposedMilestone(RequestBody):
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    amount: Annotated[int, Field(strict=True, ge=50, le=MAX_CENTS)]
    """Cents; together they are the escrow's amount."""


class ProposeMilestones(RequestBody):
    milestones: Annotated[list[ProposedMilestone], Field(min_length=2, max_length=MOST_MILESTONES)]


class AcceptMilestones(RequestBody):
    version: Annotated[int, Field(strict=True, ge=1)]
    """Of the proposal that was read."""


class MilestoneView(View):
    id: UUID
    position: int
    title: str
    amount: int
    fee: int
    """Kept by the platform when the seller is paid for it; the fees of all are the escrow's."""
    payout: int
    """What the seller gets."""
    status: EscrowStatus
    settling: Settling | None
    waits_for: Literal["SELLER_PAYOUT_ACCOUNT"] | None
    reason: str | None
    delivered_at: datetime | None
    confirmed_at: datetime | None
    deliver_by: datetime | None
    release_by: datetime | None
    to_buyer: int | None
    ended_at: datetime | None
    version: int

    @classmethod
    def of(cls, milestone: MilestoneEscrow) -> Self:
        computed = {
            "payout": shares(milestone).to_seller,
            "waits_for": "SELLER_PAYOUT_ACCOUNT" if is_waiting(milestone) else None,
        }
        own = {name: getattr(milestone, name) for name in cls.model_fields if name not in computed}
        return cls.model_validate(own | computed)


class PlannedMilestone(View):
    title: str
    amount: int


class MilestonePlanView(View):
    version: int
    proposed_by: UUID
    milestones: list[PlannedMilestone]
    agreed_at: datetime | None
    updated_at: datetime


class MilestonesView(View):
    plan: MilestonePlanView | None
    """What was proposed last."""
    milestones: list[MilestoneView]
    """None until it is agreed; until then the trade is whole."""

    @classmethod
    def of(cls, plan: MilestonePlan | None, milestones: Sequence[MilestoneEscrow]) -> Self:
        return cls(
            plan=None if plan is None else MilestonePlanView.model_validate(plan),
            milestones=[MilestoneView.of(milestone) for milestone in milestones],
        )


class DeliveryView(View):
    id: UUID
    milestone_id: UUID | None
    """None when the game was delivered as a whole."""
    title: str
    description: str
    status: DeliveryStatus
    delivered_at: datetime | None
    observed_transfer: dict[str, str] | None
    """The game was seen with the buyer: `creator_id`, `creator_type`, `observed_at`."""
    evidence: list[FileView]


class EscrowView(View):
    id: UUID
    rail: Rail
    amount: int
    currency: Currency
    fee: int
    """Kept by the platform from the seller's payout."""
    payout: int
    """What the seller gets."""
    status: EscrowStatus
    settling: Settling | None
    """The move whose money is on its way; until it ends nothing else is possible."""
    waits_for: Literal["SELLER_PAYOUT_ACCOUNT"] | None
    """Why a confirmed payout has not begun."""
    reason: str | None
    ownership: Ownership | None
    """Whether the seller was found to own the game since the opening; only before payment."""
    contract_id: UUID
    offer_id: UUID
    root_offer_id: UUID
    listing_id: UUID
    game_id: str
    seller_id: UUID
    buyer_id: UUID
    pay_by: datetime
    funded_at: datetime | None
    delivered_at: datetime | None
    confirmed_at: datetime | None
    deliver_by: datetime | None
    """From then on the buyer may cancel, while nothing is delivered."""
    release_by: datetime | None
    """When silence after the delivery decides."""
    to_buyer: int | None
    """What a split gives back to the buyer."""
    ended_at: datetime | None
    deliveries: list[DeliveryView]
    milestones: list[MilestoneView]
    """Settled one by one instead of the whole; none when the trade is not divided."""
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(
        cls,
        escrow: Escrow,
        deliveries: Sequence[Mapping[str, Any]],
        ownership: Ownership | None,
        milestones: Sequence[MilestoneEscrow],
    ) -> Self:
        computed = {
            "payout": shares(escrow).to_seller,
            "waits_for": "SELLER_PAYOUT_ACCOUNT" if is_waiting(escrow) else None,
            "ownership": ownership,
            "deliveries": deliveries,
            "milestones": [MilestoneView.of(milestone) for milestone in milestones],
        }
        own = {name: getattr(escrow, name) for name in cls.model_fields if name not in computed}
        return cls.model_validate(own | computed)


class PaymentPreparing(View):
    """Ask again after `Retry-After`, with a new key."""

    status: Literal["preparing"] = "preparing"


class PaymentReady(View):
    """What the buyer's browser needs to pay; the secret is for this buyer only."""

    status: Literal["ready"] = "ready"
    client_secret: str
    payment_intent_id: str
    amount: int
    currency: Currency


class LedgerEntryView(View):
    transaction_id: UUID
    cause: Cause
    account: Account
    amount: int
    """Signed cents: a credit is positive, a debit negative."""
    currency: str
    reference: str
    """The provider's object."""
    posted_at: datetime


class LedgerView(View):
    entries: list[LedgerEntryView]
    sums: dict[str, int]
    """Per currency; always zero."""

    @classmethod
    def of(cls, rows: Sequence[tuple[LedgerTransaction, LedgerEntry]]) -> Self:
        entries = [
            LedgerEntryView(
                transaction_id=transaction.id,
                cause=transaction.cause,
                account=entry.account,
                amount=entry.amount,
                currency=entry.currency,
                reference=transaction.reference,
                posted_at=transaction.posted_at,
            )
            for transaction, entry in rows
        ]
        sums = dict.fromkeys((entry.currency for entry in entries), 0)
        for entry in entries:
            sums[entry.currency] += entry.amount
        return cls(entries=entries, sums=sums)


class PayoutAccountView(View):
    is_payable: bool
    """Payouts would arrive."""
    has_account: bool


class OnboardingView(View):
    """A page of the payment provider's; it works once and soon expires."""

    onboarding_url: str
    expires_at: datetime
    is_payable: bool


class WebhookKept(View):
    status: Literal["kept"] = Field(default="kept")
