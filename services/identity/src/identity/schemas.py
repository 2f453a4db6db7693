"""Request and response bodies of identity."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from identity.lifecycle import VerificationStatus
from shared.events.cards import GameOwnershipType, GameSnapshot, KycTier, VerificationMethod
from shared.web import RequestBody, View

GameId = Annotated[str, Field(pattern=r"^[1-9]\d{0,18}$")]
"""A Roblox universe id."""


class StartSignIn(RequestBody):
    """Nothing to say; the provider's page asks."""


class SignInStarted(View):
    authorization_url: str


class UserView(View):
    id: UUID
    name: str
    email: str | None
    kyc_tier: KycTier
    kyc_verified: bool
    roles: list[str]
    is_frozen: bool
    discord_id: str | None
    discord_name: str | None
    roblox_id: str | None
    roblox_name: str | None


class SignedIn(View):
    session_token: str | None = None
    """Only after a sign-in; a link keeps the session."""
    expires_at: datetime | None = None
    user: UserView


class AccessToken(View):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - RFC 6750's name
    expires_in: int
    """Seconds."""


class SessionView(View):
    id: UUID
    ip_address: str | None
    user_agent: str | None
    created_at: datetime
    expires_at: datetime


class AskVerification(RequestBody):
    game_id: GameId


class VerificationView(View):
    id: UUID
    game_id: str
    verification_status: VerificationStatus
    verification_method: VerificationMethod
    ownership_type: GameOwnershipType
    verified_at: datetime | None
    expires_at: datetime | None
    reason: str | None
    created_at: datetime


class Games(View):
    items: list[GameSnapshot]
