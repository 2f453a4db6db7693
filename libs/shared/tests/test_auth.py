"""Access tokens: what is let in, and that everything else is refused alike."""

import base64
import hmac
import json
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from shared import auth
from shared.auth import Principal
from shared.errors import Unavailable
from shared.events.cards import KycTier
from shared.problems import Unauthorized
from shared.testing.tokens import FixedKeys, TestIssuer

USER = UUID("01a20000-0000-7000-8000-000000000001")
SESSION = UUID("01a20000-0000-7000-8000-000000000002")


@pytest.fixture
def issuer() -> TestIssuer:
    return TestIssuer(kid="key-1")


async def verify(issuer: TestIssuer, token: str) -> Principal:
    return await auth.verify(token, issuer.key_source(), issuer.issuer)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def test_a_token_names_its_user(issuer: TestIssuer) -> None:
    token = issuer.token(
        USER, roles=["moderator"], act="discord", sid=str(SESSION), scope="browse offer"
    )
    principal = await verify(issuer, token)
    assert principal == Principal(
        user_id=USER,
        roles=frozenset({"moderator"}),
        kyc_tier=KycTier.TIER_1,
        client="discord",
        scopes=frozenset({"browse", "offer"}),
        session_id=SESSION,
    )
    assert principal.is_staff


async def test_a_user_without_roles_is_no_staff_and_may_use_every_scope(
    issuer: TestIssuer,
) -> None:
    principal = await verify(issuer, issuer.token(USER, kyc_tier="TIER_0"))
    assert (principal.is_staff, principal.scopes, principal.client) == (False, None, None)
    assert principal.kyc_tier is KycTier.TIER_0


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_an_ed25519_key_signs_as_well() -> None:
    issuer = TestIssuer()
    key = OKPKey.generate_key("Ed25519", {"kid": "ed"})
    claims = json.loads(_claims(issuer.token(USER)))
    token = jwt.encode({"alg": "EdDSA", "typ": "at+jwt", "kid": "ed"}, claims, key, ["EdDSA"])
    principal = await auth.verify(token, FixedKeys(key), issuer.issuer)
    assert principal.user_id == USER


def _claims(token: str) -> bytes:
    payload = token.split(".")[1]
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "bloxtr8-web"},
        {"aud": ["bloxtr8-web", "other"]},
        {"aud": None},
        {"iss": "http://evil.example"},
        {"iss": None},
        {"exp": NOW - 60},
        {"exp": None},
        {"exp": float(NOW + 86_400)},
        {"exp": str(NOW + 86_400)},
        {"nbf": NOW + 86_400},
        {"nbf": None},
        {"iat": NOW + 86_400},
        {"iat": None},
        {"sub": "not-a-uuid"},
        {"sub": None},
        {"jti": None},
        {"kyc_tier": "TIER_9"},
        {"kyc_tier": None},
        {"act": {}},
        {"act": {"sub": ""}},
        {"roles": 7},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(
    issuer: TestIssuer, claims: dict[str, Any]
) -> None:
    absent = {name for name, value in claims.items() if value is None}
    usual = json.loads(_claims(issuer.token(USER))) | claims
    token = issuer.sign({name: value for name, value in usual.items() if value is not None})
    assert absent.isdisjoint(json.loads(_claims(token)))
    with pytest.raises(Unauthorized):
        await verify(issuer, token)


@pytest.mark.parametrize("late_seconds", [auth.LEEWAY_SECONDS - 2, auth.LEEWAY_SECONDS + 1])
async def test_an_expired_token_lives_only_through_the_leeway(
    issuer: TestIssuer, late_seconds: int
) -> None:
    token = issuer.token(USER, exp=int(time.time()) - late_seconds)
    if late_seconds < auth.LEEWAY_SECONDS:
        assert (await verify(issuer, token)).user_id == USER
    else:
        with pytest.raises(Unauthorized):
            await verify(issuer, token)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": "id+jwt"},
        {"typ": ""},
        {"kid": "key-2"},
        {"kid": ""},
        {"kid": "../../../../etc/passwd"},
        {"kid": "key-1' OR '1'='1"},
        {"kid": "http://evil.example/jwks.json"},
        {"kid": "key-1\x00"},
        {"kid": "k" * 129},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_header_is_refused(
    issuer: TestIssuer, header: dict[str, Any]
) -> None:
    with pytest.raises(Unauthorized):
        await verify(issuer, issuer.token(USER, header=header))


async def test_keys_and_addresses_inside_a_token_are_never_used(issuer: TestIssuer) -> None:
    forger = TestIssuer(issuer.issuer, kid="key-1")
    inside = {
        "jku": "http://evil.example/jwks.json",
        "x5u": "http://evil.example/cert.pem",
        "jwk": forger.signing_key.as_dict(private=False),
    }
    with pytest.raises(Unauthorized):
        await verify(issuer, forger.token(USER, header=inside))
    assert (await verify(issuer, issuer.token(USER, header=inside))).user_id == USER


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "ES999"])
async def test_an_unsigned_token_is_refused(issuer: TestIssuer, algorithm: str) -> None:
    _, claims, signature = issuer.token(USER).split(".")
    head = part({"alg": algorithm, "typ": "at+jwt", "kid": "key-1"})
    for forged in (f"{head}.{claims}.", f"{head}.{claims}.{signature}"):
        with pytest.raises(Unauthorized):
            await verify(issuer, forged)


async def test_the_public_key_is_no_shared_secret(issuer: TestIssuer) -> None:
    _, claims, _ = issuer.token(USER).split(".")
    signed = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'key-1'})}.{claims}"
    public = issuer.signing_key
    for secret in (
        public.as_pem(private=False),
        json.dumps(public.as_dict(private=False)).encode(),
    ):
        signature = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256"))
        with pytest.raises(Unauthorized):
            await verify(issuer, f"{signed}.{signature.decode().rstrip('=')}")


async def test_other_algorithms_are_refused_even_with_a_known_key() -> None:
    issuer = TestIssuer()
    claims = json.loads(_claims(issuer.token(USER)))
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
    p384 = ECKey.generate_key("P-384", {"kid": "p384"})
    keys = FixedKeys(rsa, p384)
    for algorithm, key in (("RS256", rsa), ("PS256", rsa), ("ES384", p384)):
        head = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid}
        token = jwt.encode(head, claims, key, [algorithm])
        with pytest.raises(Unauthorized):
            await auth.verify(token, keys, issuer.issuer)


async def test_a_changed_or_broken_token_is_refused(issuer: TestIssuer) -> None:
    head, claims, signature = issuer.token(USER).split(".")
    other = part(json.loads(_claims(f"{head}.{claims}.")) | {"roles": ["admin"]})
    critical = part({"alg": "ES256", "kid": "key-1", "typ": "at+jwt", "crit": ["exp"]})
    broken = [
        f"{head}.{other}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims}",
        "",
        "...",
        "a.b.c",
        "ü.ü.ü",
        f"{critical}.{claims}.{signature}",
        f"{part(['ES256'])}.{claims}.{signature}",
        "x" * 10_000,
    ]
    for token in broken:
        with pytest.raises(Unauthorized):
            await verify(issuer, token)


@pytest.mark.parametrize(
    "jwk",
    [
        RSAKey.generate_key(2048, {"kid": "k"}).as_dict(private=False),
        OctKey.generate_key(256, {"kid": "k"}).as_dict(),
        ECKey.generate_key("P-384", {"kid": "k"}).as_dict(private=False),
        OKPKey.generate_key("X25519", {"kid": "k"}).as_dict(private=False),
        {"kty": "EC", "crv": "P-256", "kid": "k"},
        {"kty": "EC", "crv": "P-256", "kid": "k", "x": "AA", "y": "AA"},
        ECKey.generate_key("P-256", {"kid": "../k"}).as_dict(private=False),
        ECKey.generate_key("P-256").as_dict(private=False, kid=""),
        {},
    ],
    ids=lambda jwk: f"{jwk.get('kty')}-{jwk.get('crv')}-{jwk.get('kid')}",
)
def test_a_published_key_that_cannot_sign_our_tokens_is_left_out(jwk: dict[str, Any]) -> None:
    assert auth.public_key(jwk) is None


def test_a_private_member_of_a_published_key_is_dropped() -> None:
    published = auth.public_key(
        ECKey.generate_key("P-256", {"kid": "k", "use": "sig"}).as_dict(private=True)
    )
    assert published is not None
    assert not published.is_private
    assert published.kid == "k"


async def test_a_key_source_that_does_not_answer_is_no_reason_to_sign_out(
    issuer: TestIssuer,
) -> None:
    class Away:
        async def key(self, kid: str) -> Key | None:
            raise Unavailable(f"{kid} cannot be looked up.")

    with pytest.raises(Unavailable):
        await auth.verify(issuer.token(uuid4()), Away(), issuer.issuer)


async def test_a_token_that_was_let_in_is_refused_when_it_has_expired(
    issuer: TestIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token(USER)
    assert (await verify(issuer, token)).user_id == USER
    expires = json.loads(_claims(token))["exp"] + auth.LEEWAY_SECONDS
    monkeypatch.setattr(time, "time", lambda: expires)
    with pytest.raises(Unauthorized):
        await verify(issuer, token)


async def test_a_token_that_was_let_in_is_refused_when_its_key_is_gone_or_another(
    issuer: TestIssuer,
) -> None:
    token = issuer.token(USER)
    assert (await verify(issuer, token)).user_id == USER
    for keys in (FixedKeys(), TestIssuer(kid="key-1").key_source()):
        with pytest.raises(Unauthorized):
            await auth.verify(token, keys, issuer.issuer)
    assert (await verify(issuer, token)).user_id == USER
