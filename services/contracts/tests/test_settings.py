"""Settings of contracts."""

import pytest

from contracts.settings import Settings


def test_retry_delays_come_as_a_comma_list(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings().retry_delays_seconds == (60.0, 300.0)
    monkeypatch.setenv("CONTRACTS_RETRY_DELAYS_SECONDS", "0.5,2")
    assert Settings().retry_delays_seconds == (0.5, 2.0)


def test_an_authority_of_timestamps_is_named_with_its_root(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CONTRACTS_TSA_URL", "http://tsa.example")
    with pytest.raises(ValueError, match="needs CONTRACTS_TSA_ROOT_FILE"):
        Settings()
    monkeypatch.setenv("CONTRACTS_TSA_ROOT_FILE", "/tsa.pem")
    settings = Settings()
    assert [str(root) for root in settings.roots][1:] == ["/tsa.pem"]
    assert settings.sealing[3:] == ("/tsa.pem", "http://tsa.example")


def test_development_secrets_are_refused_in_production(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "CONTRACTS_ENVIRONMENT": "production",
        "CONTRACTS_DATABASE_URL": "postgresql://contracts_app:x@db/bloxtr8?sslmode=verify-full",
        "CONTRACTS_PUBLIC_URL": "https://bloxtr8.example",
        "CONTRACTS_JWT_ISSUER": "https://bloxtr8.example",
        "CONTRACTS_KAFKA_USE_SSL": "true",
        "CONTRACTS_S3_SECRET_KEY": "real",
        "CONTRACTS_SEAL_PKCS12_PASSWORD": "dev-password",
    }
    for name, value in (environment | changes).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="CONTRACTS_SEAL_PKCS12_PASSWORD holds a development"):
        Settings()
    monkeypatch.setenv("CONTRACTS_SEAL_PKCS12_PASSWORD", "real")
    assert (Settings().environment, Settings().retention_years) == ("production", 10)
    monkeypatch.setenv("CONTRACTS_RETENTION_YEARS", "0")
    with pytest.raises(ValueError, match="CONTRACTS_RETENTION_YEARS must be 1 or more"):
        Settings()
