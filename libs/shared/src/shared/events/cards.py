"""Parts that several events carry: who, which game, on which terms."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.money import Cents, Currency, Rail, ZeroOrMoreCents


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KycTier(StrEnum):
    TIER_0 = "TIER_0"
    TIER_1 = "TIER_1"
    TIER_2 = "TIER_2"

    @property
    def may_trade(self) -> bool:
        return self is not KycTier.TIER_0


class GameOwnershipType(StrEnum):
    OWNER = "OWNER"
    ADMIN = "ADMIN"
    DEVELOPER = "DEVELOPER"


class VerificationMethod(StrEnum):
    GAME_OWNERSHIP_API = "GAME_OWNERSHIP_API"
    GAME_PERMISSIONS_API = "GAME_PERMISSIONS_API"
    MANUAL = "MANUAL"


class PartyCard(Part):
    """One side of a trade as it was known when the offer was accepted."""

    user_id: UUID
    name: str
    roblox_id: str
    roblox_name: str
    discord_id: str | None = None
    discord_name: str | None = None
    kyc_tier: KycTier
    wallet_address: str | None = None


class GameSnapshot(Part):
    """The game's state at one moment (RobloxSnapshot)."""

    game_id: str
    """The Roblox universe id."""
    game_name: str
    game_description: str | None = None
    thumbnail_url: str | None = None
    player_count: int | None = None
    visits: int | None = None
    created_date: datetime | None = None
    creator_id: str
    creator_type: str
    """`User` or `Group`."""
    creator_name: str | None = None
    taken_at: datetime


class TradeTerms(Part):
    """Stamped once at acceptance; contract and escrow apply these, never settings of their own."""

    fee_basis_points: int
    fee: ZeroOrMoreCents
    """Cents, taken from the seller's payout."""
    rail: Rail
    sign_within_seconds: int
    """From the acceptance."""
    pay_within_seconds: int
    """From the opening of the escrow."""
    deliver_within_seconds: int
    """From the funding; after it the buyer may cancel."""
    auto_release_seconds: int
    """From the delivery; then silence releases."""
    reclaim_after_seconds: int
    """From the funding; after it the buyer alone may reclaim on chain."""


class Deal(Part):
    """What both sides agreed to."""

    listing_id: UUID
    offer_id: UUID
    amount: Cents
    currency: Currency
    conditions: str | None = None
    terms: TradeTerms
    seller: PartyCard
    buyer: PartyCard
    game: GameSnapshot
    accepted_at: datetime
