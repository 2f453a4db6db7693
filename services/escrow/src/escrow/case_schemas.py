"""Bodies and answers of disputes, and the one page that a moderator works on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import StringConstraints

from escrow.evidence_models import EvidenceFile
from escrow.evidence_schemas import EvidenceIds, FileView
from escrow.lifecycle import (
    DisputeStatus,
    EscrowStatus,
    HoldKind,
    IntentKind,
    IntentState,
    Resolution,
)
from escrow.models import Dispute, DisputeEvidence
from escrow.schemas import EscrowView, LedgerView
from shared.money import Cents
from shared.web import RequestBody, View

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


class OpenDispute(RequestBody):
    title: Title
    description: Text
    evidence_ids: EvidenceIds = ()


class Say(RequestBody):
    statement: Text
    evidence_ids: EvidenceIds = ()


class Decide(RequestBody):
    resolution: Resolution
    reason: Text
    to_buyer: Cents | None = None
    """For SPLIT: cents that go back to the buyer; the rest is the seller's, less the fee."""


class PlaceHold(RequestBody):
    kind: Literal[HoldKind.STAFF, HoldKind.SANCTION]
    reason: Text


class Lift(RequestBody):
    reason: Text


class HoldView(View):
    id: UUID
    escrow_id: UUID
    kind: HoldKind
    reason: str
    placed_by: UUID | None
    lifted_by: UUID | None
    lifted_reason: str | None
    lifted_at: datetime | None
    created_at: datetime


class EvidenceView(View):
    id: UUID
    author_id: UUID
    statement: str
    created_at: datetime


class DisputeView(View):
    id: UUID
    escrow_id: UUID
    milestone_id: UUID | None
    """None when it is about the whole."""
    opened_by: UUID | None
    """None when silence after the delivery opened it."""
    opened_from: EscrowStatus
    title: str
    description: str
    status: DisputeStatus
    resolution: Resolution | None
    """As decided; RESOLVED follows when the money has moved."""
    reason: str | None
    moderator_id: UUID | None
    buyer_withdrew_at: datetime | None
    seller_withdrew_at: datetime | None
    alerted_at: datetime | None
    resolved_at: datetime | None
    created_at: datetime
    evidence: list[EvidenceView]
    files: list[FileView]

    @classmethod
    def of(
        cls,
        dispute: Dispute,
        evidence: Sequence[DisputeEvidence],
        files: Sequence[EvidenceFile],
    ) -> Self:
        brought = {
            "evidence": [EvidenceView.model_validate(one) for one in evidence],
            "files": [FileView.model_validate(file) for file in files],
        }
        own = {name: getattr(dispute, name) for name in cls.model_fields if name not in brought}
        return cls.model_validate(own | brought)


class PaymentView(View):
    """Something asked of the payment provider, and what became of it."""

    id: UUID
    milestone_id: UUID | None
    kind: IntentKind
    state: IntentState
    amount: int | None
    currency: str | None
    object_id: str | None
    provider_status: str | None
    received: int | None
    last_error: str | None
    created_at: datetime
    settled_at: datetime | None


class ChangeView(View):
    action: str
    user_id: UUID | None
    details: dict[str, Any]
    created_at: datetime


class CaseView(View):
    """Everything that a decision about one trade rests on."""

    escrow: EscrowView
    deal: dict[str, Any]
    """What both sides agreed to, with the game as it was at acceptance."""
    sealed_document: dict[str, Any]
    disputes: list[DisputeView]
    holds: list[HoldView]
    payments: list[PaymentView]
    ledger: LedgerView
    history: list[ChangeView]
