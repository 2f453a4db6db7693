"""What identity reads from its environment (prefix IDENTITY_)."""

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="IDENTITY_")

    encryption_key: SecretStr
    """At least 32 characters; provider tokens and signing keys are encrypted with its hash."""
    discord_client_id: str
    discord_client_secret: SecretStr
    discord_authorize_url: str = "https://discord.com/oauth2/authorize"
    discord_token_url: str = "https://discord.com/api/oauth2/token"  # noqa: S105 - an address
    discord_api_url: str = "https://discord.com/api"
    roblox_client_id: str
    roblox_client_secret: SecretStr
    roblox_oauth_url: str = "https://apis.roblox.com/oauth"
    roblox_games_url: str = "https://games.roblox.com"
    roblox_groups_url: str = "https://groups.roblox.com"
    roblox_thumbnails_url: str = "https://thumbnails.roblox.com"
    outside_timeout_seconds: float = 10
    sign_in_starts_per_minute: int = 120
    """Per client address."""
