"""What contracts reads from its environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.settings import ServiceSettings

Seconds = Annotated[float, Field(gt=0)]


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="CONTRACTS_")

    s3_endpoint_url: str
    s3_access_key: str
    s3_secret_key: SecretStr
    s3_bucket: str = "contracts"
    s3_region: str = "us-east-1"
    seal_pkcs12_file: Path
    """The key that seals executed contracts, with its certificates."""
    seal_pkcs12_password: SecretStr
    seal_root_file: Path
    """PEM certificate of the authority by which our own seals are checked."""
    discord_client: str = "discord"
    """Who the Discord frontend is in the `act` of the tokens it gets for its users."""
    pictures_origin: str | None = None
    """`http://host:port` from where pictures are taken besides public https addresses; for the
    simulators only.
    """
    retry_delays_seconds: Annotated[tuple[Seconds, ...], NoDecode] = (60.0, 300.0)
    """Waits before the second and the third attempt to execute a contract."""

    @field_validator("retry_delays_seconds", mode="before")
    @classmethod
    def split_delays(cls, value: object) -> object:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value
