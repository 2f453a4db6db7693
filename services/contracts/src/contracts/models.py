"""Rows of contracts; enum values and names follow the data model."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from contracts.lifecycle import ContractStatus, VoidReason
from shared.database import Model, text_enum
from shared.events.cards import Deal, KycTier
from shared.ids import new_id
from shared.jobs import JobColumns


class SignatureMethod(StrEnum):
    """How a signature was given."""

    DISCORD_NATIVE = "DISCORD_NATIVE"
    WEB_BASED = "WEB_BASED"
    API = "API"


class Contract(Model):
    __tablename__ = "contracts"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - SQLAlchemy reads it so

    id: Mapped[UUID] = mapped_column(primary_key=True)
    offer_id: Mapped[UUID] = mapped_column(unique=True)
    root_offer_id: Mapped[UUID]
    listing_id: Mapped[UUID]
    seller_id: Mapped[UUID]
    buyer_id: Mapped[UUID]
    status: Mapped[ContractStatus] = mapped_column(text_enum(ContractStatus))
    version: Mapped[int] = mapped_column(default=1)
    """Counts the changes of this row."""
    deal: Mapped[dict[str, Any]]
    """What was agreed, as the accepted offer said it."""
    roblox_asset_data: Mapped[dict[str, Any]]
    """The game as it was when the offer was accepted."""
    template_version: Mapped[str]
    pdf_url: Mapped[str | None]
    """`s3://bucket/key` of the document to sign; None only where none could be made."""
    pdf_version_id: Mapped[str | None]
    sha256: Mapped[str | None]
    """Of the document to sign; every signature repeats it."""
    sign_by: Mapped[datetime]
    signed_at: Mapped[datetime | None]
    sealed_key: Mapped[str | None]
    sealed_version_id: Mapped[str | None]
    sealed_sha256: Mapped[str | None]
    executed_at: Mapped[datetime | None]
    void_reason: Mapped[VoidReason | None] = mapped_column(text_enum(VoidReason))
    note: Mapped[str | None]
    """The words of whoever declined or voided it."""
    failure: Mapped[str | None]
    """Why the last execution failed, for staff."""
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(
        server_default=sa.text("clock()"), onupdate=sa.text("clock()")
    )

    @property
    def parties(self) -> frozenset[UUID]:
        return frozenset({self.seller_id, self.buyer_id})

    @property
    def agreed(self) -> Deal:
        return Deal.model_validate(self.deal)

    @property
    def document_key(self) -> str | None:
        """The S3 key of the document to sign."""
        return self.pdf_url and self.pdf_url.removeprefix("s3://").partition("/")[2]


class Signature(Model):
    """Append-only; a foreign key binds `document_sha256` to the contract's."""

    __tablename__ = "signatures"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID]
    contract_id: Mapped[UUID] = mapped_column(sa.ForeignKey("contracts.id"))
    document_sha256: Mapped[str]
    consent_version: Mapped[str]
    """The template whose consent text was agreed to."""
    signed_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    ip_address: Mapped[str | None]
    user_agent: Mapped[str | None]
    signature_method: Mapped[SignatureMethod] = mapped_column(text_enum(SignatureMethod))
    wallet_address: Mapped[str | None]
    """The signer's wallet, where it signed the document too (EIP-712)."""
    wallet_signature: Mapped[str | None]


class ContractSignToken(Model):
    """A magic link: the credential to view, sign or decline one contract as one user, once."""

    __tablename__ = "contract_sign_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    """The secret itself is in the link and nowhere else."""
    contract_id: Mapped[UUID] = mapped_column(sa.ForeignKey("contracts.id"))
    user_id: Mapped[UUID]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class ContractTemplate(Model):
    """The words of contracts by version; a version's terms never change."""

    __tablename__ = "contract_templates"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    version: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    terms: Mapped[dict[str, Any]]
    is_active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    deprecated_at: Mapped[datetime | None]


class ContractExecutionJob(JobColumns, Model):
    """One per contract, made when everybody has signed."""

    __tablename__ = "contract_execution_jobs"

    contract_id: Mapped[UUID] = mapped_column(sa.ForeignKey("contracts.id"), unique=True)
    run_at: Mapped[datetime] = mapped_column("next_retry_at", server_default=sa.text("clock()"))


class User(Model):
    """What must be known of a user before they sign; told by identity."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    """The version of identity's row; an older one is skipped."""
    kyc_tier: Mapped[KycTier] = mapped_column(text_enum(KycTier))
    is_frozen: Mapped[bool]
    wallet_address: Mapped[str | None]
