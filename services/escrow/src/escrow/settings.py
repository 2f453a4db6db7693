"""What escrow's processes read from their environment."""

from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import DEVELOPMENT_MARK, ServiceSettings

_LIVE_KEYS = ("sk_live_", "rk_live_")


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ESCROW_", frozen=True, extra="ignore")

    s3_endpoint_url: str
    s3_access_key: str
    s3_secret_key: SecretStr
    s3_bucket: str = "evidence"
    s3_region: str = "us-east-1"
    stripe_api_key: SecretStr
    stripe_api_url: str = ""
    """Where Stripe is; empty is the real one."""
    stripe_webhook_secrets: SecretStr
    """Every secret that may sign webhooks now, separated by commas."""
    stripe_timeout_seconds: float = Field(default=20, gt=0, le=60)

    @property
    def webhook_secrets(self) -> list[str]:
        secrets = self.stripe_webhook_secrets.get_secret_value().split(",")
        return [secret.strip() for secret in secrets if secret.strip()]

    @property
    def is_live(self) -> bool:
        """Real money moves."""
        return self.stripe_api_key.get_secret_value().startswith(_LIVE_KEYS)

    @model_validator(mode="after")
    def keep_real_and_pretended_money_apart(self) -> Self:
        if not self.webhook_secrets:
            raise ValueError("ESCROW_STRIPE_WEBHOOK_SECRETS names no secret.")
        if self.is_live and self.stripe_api_url:
            raise ValueError(
                "A live key goes to the real Stripe only; unset ESCROW_STRIPE_API_URL."
            )
        if self.environment == "production":
            if not self.is_live:
                raise ValueError("ESCROW_STRIPE_API_KEY must be a live key in production.")
            if any(secret.startswith(DEVELOPMENT_MARK) for secret in self.webhook_secrets):
                raise ValueError("ESCROW_STRIPE_WEBHOOK_SECRETS holds a development secret.")
        return self
