"""Identity's tables."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from identity.lifecycle import VerificationStatus
from shared.database import Model, text_enum
from shared.events.cards import GameOwnershipType, KycTier, VerificationMethod
from shared.ids import new_id


class User(Model):
    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    email: Mapped[str | None]
    """Only from a source that has verified it."""
    email_verified: Mapped[bool] = mapped_column(default=False)
    phone: Mapped[str | None]
    image: Mapped[str | None]
    kyc_tier: Mapped[KycTier] = mapped_column(text_enum(KycTier), default=KycTier.TIER_0)
    kyc_verified: Mapped[bool] = mapped_column(default=False)
    wallet_address: Mapped[str | None]
    wallet_risk: Mapped[str] = mapped_column(default="UNKNOWN")
    roles: Mapped[list[Any]] = mapped_column(default=list)
    is_frozen: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class Account(Model):
    """How a provider knows the user."""

    __tablename__ = "accounts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[str]
    provider_id: Mapped[str]
    user_id: Mapped[UUID]
    account_name: Mapped[str]
    refresh_token: Mapped[bytes | None]
    """Encrypted."""
    scope: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class Session(Model):
    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID]
    token_hash: Mapped[bytes]
    expires_at: Mapped[datetime]
    """Slides: 30 days from the last use."""
    revoked_at: Mapped[datetime | None]
    ip_address: Mapped[str | None]
    user_agent: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class OAuthState(Model):
    """One trip to a provider: single use, ten minutes, one browser."""

    __tablename__ = "oauth_states"

    state_hash: Mapped[bytes] = mapped_column(primary_key=True)
    provider_id: Mapped[str]
    browser_hash: Mapped[bytes]
    code_verifier: Mapped[str]
    nonce: Mapped[str]
    user_id: Mapped[UUID | None]
    """Who links an account; None for a sign-in."""
    expires_at: Mapped[datetime]


class SigningKey(Model):
    """A key of our own access tokens."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    public_jwk: Mapped[dict[str, Any]]
    private_key: Mapped[bytes]
    """Encrypted PEM."""
    signs_from: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))


class AssetVerification(Model):
    __tablename__ = "asset_verifications"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID]
    game_id: Mapped[str]
    verification_status: Mapped[VerificationStatus] = mapped_column(text_enum(VerificationStatus))
    verification_method: Mapped[VerificationMethod] = mapped_column(text_enum(VerificationMethod))
    ownership_type: Mapped[GameOwnershipType] = mapped_column(text_enum(GameOwnershipType))
    verified_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    """Why it failed, for people."""
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    """The game as Roblox described it (`metadata` is SQLAlchemy's own name)."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock()"))
