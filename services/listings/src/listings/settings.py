"""What listings reads from its environment (LISTINGS_…): the terms that trades are made on."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings

HOUR, DAY = 3600, 86_400


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="LISTINGS_")

    fee_basis_points: int = Field(default=250, ge=0, le=5000)
    sign_within_seconds: int = Field(default=72 * HOUR, gt=0)
    pay_within_seconds: int = Field(default=72 * HOUR, gt=0)
    deliver_within_seconds: int = Field(default=14 * DAY, gt=0)
    auto_release_seconds: int = Field(default=7 * DAY, gt=0)
    reclaim_after_seconds: int = Field(default=180 * DAY, gt=0)
