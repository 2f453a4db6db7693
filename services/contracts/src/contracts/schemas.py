"""Bodies of requests and answers."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from contracts.documents.inputs import Happened, network
from contracts.lifecycle import ContractStatus, VoidReason
from contracts.models import SignatureMethod
from contracts.use_cases import History, Shown, Verdict, Verified
from shared.events.cards import GameSnapshot, PartyCard, TradeTerms
from shared.jobs import JobStatus
from shared.money import Cents, Currency
from shared.web import Page, RequestBody, View, encode_cursor

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Secret = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
EvmSignature = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{130}$")]
Words = Annotated[str, Field(min_length=1, max_length=1000)]


class SignRequest(RequestBody):
    document_sha256: Sha256
    """Of the document that was read."""
    consent: Literal[True]
    """To `consent_text` of the contract."""
    wallet_signature: EvmSignature | None = None
    """By the signer's linked wallet over `typed_data`; the signature counts without it."""


class OwnSignRequest(SignRequest):
    confirmation: str | None = None
    """`I AGREE`, exactly so, when Discord signs for its user; left out otherwise."""


class DeclineRequest(RequestBody):
    reason: Words | None = None


class VoidRequest(RequestBody):
    reason: Words | None = None


class LinkRequest(RequestBody):
    token: Secret
    """What stands behind the `#` of the link."""


class LinkSignRequest(SignRequest):
    token: Secret


class LinkDeclineRequest(DeclineRequest):
    token: Secret


class SignatureView(View):
    user_id: UUID
    signed_at: datetime
    method: SignatureMethod
    document_sha256: str
    consent_version: str
    wallet_address: str | None
    """Where the signer's wallet signed too."""


class PartyView(View):
    user_id: UUID
    role: Literal["SELLER", "BUYER"]
    name: str
    roblox_id: str
    roblox_name: str
    discord_name: str | None
    has_signed: bool

    @classmethod
    def of(cls, role: Literal["SELLER", "BUYER"], card: PartyCard, signers: set[UUID]) -> Self:
        return cls(
            user_id=card.user_id,
            role=role,
            name=card.name,
            roblox_id=card.roblox_id,
            roblox_name=card.roblox_name,
            discord_name=card.discord_name,
            has_signed=card.user_id in signers,
        )


class ContractView(View):
    id: UUID
    offer_id: UUID
    listing_id: UUID
    status: ContractStatus
    version: int
    template_version: str
    document_sha256: str | None
    """Of the document to sign; stays the same when it has been sealed."""
    sealed_sha256: str | None
    consent_text: str
    amount: Cents
    currency: Currency
    conditions: str | None
    terms: TradeTerms
    game: GameSnapshot
    parties: list[PartyView]
    signatures: list[SignatureView]
    created_at: datetime
    sign_by: datetime
    signed_at: datetime | None
    executed_at: datetime | None
    void_reason: VoidReason | None

    @classmethod
    def of(cls, shown: Shown) -> Self:
        contract, deal = shown.contract, shown.contract.agreed
        signers = {signature.user_id for signature in shown.signatures}
        return cls(
            id=contract.id,
            offer_id=contract.offer_id,
            listing_id=contract.listing_id,
            status=contract.status,
            version=contract.version,
            template_version=contract.template_version,
            document_sha256=contract.sha256,
            sealed_sha256=contract.sealed_sha256,
            consent_text=shown.consent,
            amount=deal.amount,
            currency=deal.currency,
            conditions=deal.conditions,
            terms=deal.terms,
            game=deal.game,
            parties=[
                PartyView.of("SELLER", deal.seller, signers),
                PartyView.of("BUYER", deal.buyer, signers),
            ],
            signatures=[
                SignatureView(
                    user_id=signature.user_id,
                    signed_at=signature.signed_at,
                    method=signature.signature_method,
                    document_sha256=signature.document_sha256,
                    consent_version=signature.consent_version,
                    wallet_address=signature.wallet_address,
                )
                for signature in shown.signatures
            ],
            created_at=contract.created_at,
            sign_by=contract.sign_by,
            signed_at=contract.signed_at,
            executed_at=contract.executed_at,
            void_reason=contract.void_reason,
        )


class EventView(View):
    at: datetime
    what: str
    user_id: UUID | None
    """None: the platform."""
    method: SignatureMethod | None
    document_sha256: str | None
    user_agent: str | None
    network: str | None
    """Of an IPv4 address the /24, of an IPv6 address the /48."""
    ip: str | None
    """In full for staff only."""

    @classmethod
    def of(cls, event: Happened, *, is_staff: bool) -> Self:
        return cls(
            **event.model_dump(exclude={"ip"}),
            network=network(event.ip),
            ip=event.ip if is_staff else None,
        )


class ExecutionView(View):
    """How the sealing goes on."""

    status: JobStatus
    attempts: int
    max_attempts: int
    next_attempt_at: datetime
    last_error: str | None


class HistoryView(Page[EventView]):
    execution: ExecutionView | None
    """For staff only, once everybody has signed."""

    @classmethod
    def of(cls, history: History, limit: int, *, is_staff: bool) -> Self:
        shown, job = history.events[:limit], history.job
        return cls(
            items=[EventView.of(event, is_staff=is_staff) for _, event in shown],
            next_cursor=encode_cursor(shown[-1][0]) if len(history.events) > limit else None,
            execution=job
            and ExecutionView(
                status=job.status,
                attempts=job.attempts,
                max_attempts=job.max_attempts,
                next_attempt_at=job.run_at,
                last_error=job.last_error,
            ),
        )


class DocumentView(View):
    url: str
    """Readable for 5 minutes by whoever has it."""
    sha256: str
    expires_at: datetime
    typed_data: dict[str, Any]
    """What a wallet signs in addition, if its owner wants (`eth_signTypedData_v4`)."""


class LinkView(View):
    url: str
    expires_at: datetime


class LinkedContractView(View):
    """What the holder of a link reads before signing."""

    contract: ContractView
    document: DocumentView


class VerdictView(View):
    """What a file is; the contract where it is, or was made from, one of ours."""

    verdict: Verdict
    reason: str
    contract_id: UUID | None
    status: ContractStatus | None
    document_sha256: str | None
    """Of the document that the parties signed."""
    sealed_sha256: str | None
    executed_at: datetime | None

    @classmethod
    def of(cls, verified: Verified) -> Self:
        contract = verified.contract
        return cls(
            verdict=verified.verdict,
            reason=verified.reason,
            contract_id=contract and contract.id,
            status=contract and contract.status,
            document_sha256=contract and contract.sha256,
            sealed_sha256=contract and contract.sealed_sha256,
            executed_at=contract and contract.executed_at,
        )
