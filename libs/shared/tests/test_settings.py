"""Settings: production refuses what is only good enough for development."""

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="DEMO_")


PRODUCTION = {
    "DEMO_ENVIRONMENT": "production",
    "DEMO_DATABASE_URL": "postgresql://demo_app:9f2c@db:5432/bloxtr8?sslmode=verify-full",
    "DEMO_OPS_PORT": "9000",
    "DEMO_PUBLIC_URL": "https://bloxtr8.example",
    "DEMO_JWT_ISSUER": "https://bloxtr8.example",
    "DEMO_JWKS_URL": "https://identity/.well-known/jwks.json",
    "DEMO_KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
    "DEMO_KAFKA_PASSWORD": "b81d",
}


def _start(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in (PRODUCTION | changes).items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_production_settings_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = _start(monkeypatch)
    assert settings.ops_port == 9000
    assert settings.sqlalchemy_url.startswith("postgresql+asyncpg://demo_app:9f2c@db:5432/")
    assert "9f2c" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEMO_DATABASE_URL", "postgresql://demo_app:dev-1@db/bloxtr8?sslmode=verify-full"),
        ("DEMO_DATABASE_URL", "postgresql://demo_app:9f2c@db/bloxtr8"),
        ("DEMO_KAFKA_PASSWORD", "dev-1"),
        ("DEMO_KAFKA_USE_SSL", "false"),
        ("DEMO_PUBLIC_URL", "http://bloxtr8.example"),
        ("DEMO_JWT_ISSUER", "http://bloxtr8.example"),
        ("DEMO_CRASH_AT", "relay.before_send"),
    ],
)
def test_production_refuses_weaker_ones_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(ValidationError, match=variable):
        _start(monkeypatch, **{variable: value})


def test_a_secret_has_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_OPS_PORT", "9000")
    with pytest.raises(ValidationError, match="database_url"):
        Settings()
