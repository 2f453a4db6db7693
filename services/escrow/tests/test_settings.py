"""Real and pretended money are never mixed up."""

from typing import Any

import pytest
from pydantic import ValidationError

from escrow.settings import Settings

PRODUCTION = {
    "environment": "production",
    "database_url": "postgresql://escrow_app:pw@db/bloxtr8?sslmode=verify-full",
    "ops_port": 9000,
    "public_url": "https://bloxtr8.dev",
    "jwt_issuer": "https://bloxtr8.dev",
    "jwks_url": "https://bloxtr8.dev/.well-known/jwks.json",
    "s3_endpoint_url": "https://s3.test",
    "s3_access_key": "escrow",
    "s3_secret_key": "secret",
    "stripe_api_key": "sk_live_1",
    "stripe_webhook_secrets": "whsec_1,whsec_2",
}


def test_production_takes_a_live_key_and_several_secrets() -> None:
    settings = Settings.model_validate(PRODUCTION)
    assert settings.is_live
    assert settings.webhook_secrets == ["whsec_1", "whsec_2"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stripe_api_key": "sk_test_1"}, "must be a live key"),
        ({"stripe_api_url": "http://127.0.0.1:9"}, "real Stripe only"),
        ({"stripe_webhook_secrets": "whsec_1,dev-2"}, "development secret"),
        ({"stripe_webhook_secrets": " , "}, "names no secret"),
        ({"environment": "local", "stripe_api_url": "http://127.0.0.1:9"}, "real Stripe only"),
    ],
)
def test_a_mixture_does_not_start(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Settings.model_validate(PRODUCTION | change)
