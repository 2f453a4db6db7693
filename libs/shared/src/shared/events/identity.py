"""Facts that identity says."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from shared.events.cards import GameOwnershipType, GameSnapshot, KycTier, VerificationMethod
from shared.events.envelope import Event


class UserUpdated(Event):
    """The user as others need to know them."""

    topic: ClassVar[str] = "user.updated"
    source: ClassVar[str] = "identity"
    aggregate_field: ClassVar[str] = "user_id"
    key_fields: ClassVar[tuple[str, ...]] = ("user_id",)
    compacted: ClassVar[bool] = True

    user_id: UUID
    name: str
    roblox_id: str | None = None
    roblox_name: str | None = None
    discord_id: str | None = None
    discord_name: str | None = None
    kyc_tier: KycTier
    is_frozen: bool
    roles: list[str]
    wallet_address: str | None = None
    wallet_risk: str
    screened_at: datetime | None = None
    effective_from: datetime


class _Verification(Event):
    source: ClassVar[str] = "identity"
    aggregate_field: ClassVar[str] = "verification_id"
    key_fields: ClassVar[tuple[str, ...]] = ("user_id", "game_id")
    compacted: ClassVar[bool] = True

    verification_id: UUID
    user_id: UUID
    game_id: str
    ownership_type: GameOwnershipType
    method: VerificationMethod
    checked_at: datetime


class AssetVerified(_Verification):
    topic: ClassVar[str] = "asset.verified"

    valid_until: datetime
    game: GameSnapshot


class AssetTransferObserved(Event):
    """The game of a paid trade was seen with its buyer; said once."""

    topic: ClassVar[str] = "asset.transfer_observed"
    source: ClassVar[str] = "identity"
    aggregate_field: ClassVar[str] = "escrow_id"

    escrow_id: UUID
    root_offer_id: UUID
    game_id: str
    buyer_id: UUID
    creator_id: str
    """The buyer on Roblox, or a group that the buyer owns."""
    creator_type: str
    observed_at: datetime


class AssetVerificationFailed(_Verification):
    topic: ClassVar[str] = "asset.verification_failed"

    reason: str
