"""Discord and Roblox as sign-in providers: where to send the browser, who came back."""

from dataclasses import dataclass
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from identity.errors import SignInRefused
from identity.settings import Settings
from shared.errors import Unavailable

DISCORD, ROBLOX = "discord", "roblox"
PROVIDERS = (DISCORD, ROBLOX)


@dataclass(frozen=True)
class Profile:
    """Whom the provider says we have before us."""

    provider: str
    account_id: str
    name: str
    email: str | None
    """Only when the provider has verified it."""
    refresh_token: str | None
    scope: str


class Providers:
    """Calls the outside; never used while a transaction is open."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Read once: reading the certificates takes tens of milliseconds of every sign-in.
        self._tls = httpx.create_ssl_context()

    def redirect_uri(self, provider: str) -> str:
        return f"{self._settings.public_url}/v1/auth/{provider}/callback"

    def _client(self, provider: str) -> AsyncOAuth2Client:
        settings = self._settings
        is_discord = provider == DISCORD
        secret = settings.discord_client_secret if is_discord else settings.roblox_client_secret
        return AsyncOAuth2Client(
            client_id=settings.discord_client_id if is_discord else settings.roblox_client_id,
            client_secret=secret.get_secret_value(),
            redirect_uri=self.redirect_uri(provider),
            scope="identify email" if is_discord else "openid profile",
            token_endpoint_auth_method="client_secret_post",  # noqa: S106 - a method's name
            code_challenge_method="S256",
            timeout=settings.outside_timeout_seconds,
            verify=self._tls,
        )

    def authorization_url(self, provider: str, state: str, verifier: str, nonce: str) -> str:
        """Where the browser goes; with PKCE at both providers, which harms at neither."""
        if provider == DISCORD:
            page, extra = self._settings.discord_authorize_url, {}
        else:
            page, extra = f"{self._settings.roblox_oauth_url}/v1/authorize", {"nonce": nonce}
        url, _ = self._client(provider).create_authorization_url(
            page, state=state, code_verifier=verifier, **extra
        )
        return str(url)

    async def profile(self, provider: str, code: str, verifier: str, nonce: str) -> Profile:
        """Exchange the code and ask who it is.

        Raises:
            SignInRefused: the provider does not accept the code, or its answer is not sound.
            Unavailable: the provider does not answer.
        """
        try:
            async with self._client(provider) as client:
                return await self._ask(provider, client, code, verifier, nonce)
        except (AuthlibBaseError, JoseError, KeyError, ValueError) as error:
            raise SignInRefused(f"{provider.capitalize()} did not accept this sign-in.") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"{provider.capitalize()} does not answer.") from error

    async def _ask(
        self, provider: str, client: AsyncOAuth2Client, code: str, verifier: str, nonce: str
    ) -> Profile:
        settings = self._settings
        is_discord = provider == DISCORD
        token_url = (
            settings.discord_token_url if is_discord else f"{settings.roblox_oauth_url}/v1/token"
        )
        token = await client.fetch_token(token_url, code=code, code_verifier=verifier)
        me_url = (
            f"{settings.discord_api_url}/users/@me"
            if is_discord
            else f"{settings.roblox_oauth_url}/v1/userinfo"
        )
        answer = await client.get(me_url)
        answer.raise_for_status()
        me: dict[str, Any] = answer.json()
        if is_discord:
            account_id, name = str(me["id"]), str(me.get("global_name") or me["username"])
        else:
            await self._check_id_token(client, token["id_token"], nonce, str(me["sub"]))
            account_id, name = str(me["sub"]), str(me["preferred_username"])
        return Profile(
            provider=provider,
            account_id=account_id,
            name=name[:100],
            email=me.get("email") if is_discord and me.get("verified") else None,
            refresh_token=token.get("refresh_token"),
            scope=str(token.get("scope", "")),
        )

    async def _check_id_token(
        self, client: AsyncOAuth2Client, id_token: str, nonce: str, subject: str
    ) -> None:
        base = self._settings.roblox_oauth_url
        keys = KeySet.import_key_set((await client.get(f"{base}/v1/certs")).json())
        claims = jwt.decode(id_token, keys, algorithms=["ES256"]).claims
        registry = jwt.JWTClaimsRegistry(
            leeway=30,
            iss={"essential": True, "value": f"{base}/"},
            aud={"essential": True, "value": self._settings.roblox_client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True, "value": subject},
            exp={"essential": True},
        )
        registry.validate(claims)
