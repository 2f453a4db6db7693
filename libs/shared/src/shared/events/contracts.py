"""Facts that contracts says."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from shared.events.cards import Deal, Part
from shared.events.envelope import Event


class _Contract(Event):
    source: ClassVar[str] = "contracts"
    aggregate_field: ClassVar[str] = "contract_id"

    contract_id: UUID
    offer_id: UUID
    root_offer_id: UUID
    listing_id: UUID
    seller_id: UUID
    buyer_id: UUID


class ContractCreated(_Contract):
    topic: ClassVar[str] = "contract.created"

    document_sha256: str
    sign_by: datetime


class ContractSigned(_Contract):
    """Every party has signed the same document hash."""

    topic: ClassVar[str] = "contract.signed"

    document_sha256: str
    signed_at: datetime


class SealedDocument(Part):
    bucket: str
    key: str
    version_id: str
    sha256: str


class ContractExecuted(_Contract):
    """All that escrow needs to open."""

    topic: ClassVar[str] = "contract.executed"

    deal: Deal
    document_sha256: str
    """What the parties signed."""
    sealed: SealedDocument
    executed_at: datetime


class ContractSignatureDue(_Contract):
    topic: ClassVar[str] = "contract.signature_due"

    missing_user_ids: list[UUID]
    sign_by: datetime


class ContractExecutionFailed(_Contract):
    topic: ClassVar[str] = "contract.execution_failed"

    reason: str


class ContractVoided(_Contract):
    topic: ClassVar[str] = "contract.voided"

    reason: str
    """UNSIGNED, DECLINED, STAFF or NOT_CREATED."""
