"""What contracts reads from its environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
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
    retention_years: int = Field(default=10, ge=0, le=100)
    """How long nobody can delete a document (Object Lock, COMPLIANCE); 0 leaves it to the bucket's
    own rule, which production does not do."""
    seal_pkcs12_file: Path
    """The key that seals executed contracts, with its certificates."""
    seal_pkcs12_password: SecretStr
    seal_root_file: Path
    """PEM certificate of the authority by which our own seals are checked."""
    tsa_url: str | None = None
    """Where seals get a timestamp (RFC 3161); none, and the platform's clock has to do."""
    tsa_root_file: Path | None = None
    """PEM certificate of the authority by which timestamps are checked; it stays for as long as
    timestamped documents are to be recognised."""
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

    @property
    def sealing(self) -> tuple[str, ...]:
        """What a `Printer` is made of."""
        password = self.seal_pkcs12_password.get_secret_value()
        own = (str(self.seal_pkcs12_file), password, str(self.seal_root_file))
        return (*own, str(self.tsa_root_file or ""), self.tsa_url or "")

    @property
    def roots(self) -> tuple[Path, ...]:
        """By which sealed documents are checked: the seals' and the timestamps' authority."""
        return (self.seal_root_file, *((self.tsa_root_file,) if self.tsa_root_file else ()))

    @model_validator(mode="after")
    def check_timestamps(self) -> Self:
        if self.tsa_url and not self.tsa_root_file:
            raise ValueError("CONTRACTS_TSA_URL needs CONTRACTS_TSA_ROOT_FILE to be checked by.")
        return self

    @model_validator(mode="after")
    def keep_documents_in_production(self) -> Self:
        if self.environment == "production" and not self.retention_years:
            raise ValueError("CONTRACTS_RETENTION_YEARS must be 1 or more in production.")
        return self
