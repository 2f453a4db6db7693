"""What every process reads from its environment; a secret has no default, and development
secrets are refused in production.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEVELOPMENT_MARK = "dev-"
"""The local stack starts every secret it makes with this mark, so that production can refuse it."""

Network = IPv4Network | IPv6Network
_OWN_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
    )
)


class ServiceSettings(BaseSettings):
    """Settings common to the api and worker of a service; subclasses set `env_prefix`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    environment: Literal["local", "test", "production"] = "production"
    database_url: SecretStr
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    ops_port: int = Field(ge=0, le=65535)
    public_url: str
    jwks_url: str
    jwt_issuer: str
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = _OWN_NETWORKS
    """Networks, separated by commas, whose word on X-Forwarded-For and X-Request-Id is believed."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otlp_endpoint: str | None = None
    crash_at: str | None = None
    kafka_bootstrap_servers: str = ""
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_use_ssl: bool = True
    kafka_session_timeout_ms: int = Field(default=10_000, ge=1000)
    """How soon a killed consumer is replaced; the broker has a lower bound of its own."""

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def split_networks(cls, value: object) -> object:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value

    @property
    def service(self) -> str:
        """The service's name, as in its `env_prefix`."""
        return str(type(self).model_config.get("env_prefix", "")).rstrip("_").lower()

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url.get_secret_value().replace(
            "postgresql://", "postgresql+asyncpg://", 1
        )

    @property
    def asyncpg_url(self) -> str:
        return self.database_url.get_secret_value()

    def secrets(self) -> dict[str, str]:
        """Every secret by its field name."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {n: v.get_secret_value() for n, v in values.items() if isinstance(v, SecretStr)}

    @model_validator(mode="after")
    def refuse_development_in_production(self) -> Self:
        if self.environment != "production":
            return self
        prefix = type(self).model_config.get("env_prefix", "")
        if self.crash_at:
            raise ValueError(f"{prefix}CRASH_AT is for tests; unset it in production.")
        for name, value in self.secrets().items():
            if name == "database_url":
                value = urlsplit(value).password or ""  # noqa: PLW2901
                if "sslmode=verify-full" not in self.asyncpg_url:
                    raise ValueError(f"{prefix}DATABASE_URL needs sslmode=verify-full.")
            if value.startswith(DEVELOPMENT_MARK):
                raise ValueError(f"{prefix}{name.upper()} holds a development secret; replace it.")
        for name in ("public_url", "jwt_issuer"):
            if not getattr(self, name).startswith("https://"):
                raise ValueError(f"{prefix}{name.upper()} must start with https:// in production.")
        if self.kafka_bootstrap_servers and not self.kafka_use_ssl:
            raise ValueError(f"{prefix}KAFKA_USE_SSL must be true in production.")
        return self
