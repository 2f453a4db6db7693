"""Access tokens for tests, signed by a key of their own as identity would sign them."""

import time
from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID, uuid4

from joserfc import jwt
from joserfc.jwk import ECKey, Key

from shared.auth import AUDIENCE, TOKEN_TYPE, KeySource

ISSUER = "http://127.0.0.1:8080"


class FixedKeys:
    """A key source that knows exactly these keys."""

    def __init__(self, *keys: Key) -> None:
        self._keys = {key.kid: key for key in keys}

    async def key(self, kid: str) -> Key | None:
        return self._keys.get(kid)


class TestIssuer:
    """Signs tokens with a fresh ES256 key; `issuer` must equal the service's `jwt_issuer`."""

    __test__: ClassVar[bool] = False

    def __init__(self, issuer: str = ISSUER, *, kid: str | None = None) -> None:
        self.issuer = issuer
        self.signing_key = ECKey.generate_key("P-256", {"kid": kid or f"test-{uuid4().hex}"})

    def token(
        self,
        user_id: UUID,
        roles: Iterable[str] = (),
        kyc_tier: str = "TIER_1",
        act: str | None = None,
        *,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token that is valid for 10 minutes; further claims replace the usual ones."""
        now = int(time.time())
        usual = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "jti": uuid4().hex,
            "sid": str(uuid4()),
            "roles": sorted(roles),
            "kyc_tier": kyc_tier,
            "act": {"sub": act} if act else None,
        }
        named = {name: value for name, value in (usual | claims).items() if value is not None}
        return self.sign(named, header)

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """A token of exactly these claims."""
        usual = {"alg": "ES256", "typ": TOKEN_TYPE, "kid": self.signing_key.kid}
        return jwt.encode(usual | (header or {}), claims, self.signing_key)

    def authorization(self, user_id: UUID, **options: Any) -> dict[str, str]:
        """Request headers that carry a token."""
        return {"Authorization": f"Bearer {self.token(user_id, **options)}"}

    def jwks(self) -> dict[str, Any]:
        """What identity would publish."""
        return {"keys": [self.signing_key.as_dict(private=False)]}

    def key_source(self) -> KeySource:
        return FixedKeys(self.signing_key)
