"""A person trading over HTTP through the gateway, as a frontend would do it for them."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Self
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import uuid4

import httpx

TIMEOUT_SECONDS = 30.0


class Refused(Exception):
    """The gateway answered with a problem."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        try:
            self.problem: dict[str, Any] = answer.json()
        except ValueError:
            self.problem = {"title": answer.text[:200]}
        self.code = str(self.problem.get("type", "")).rsplit("/", 1)[-1]
        said = self.problem.get("detail") or self.problem.get("title")
        super().__init__(f"{answer.request.method} {answer.request.url.path}: {self.status} {said}")


async def until(
    ask: Callable[[], Awaitable[Any]],
    holds: Callable[[Any], bool],
    what: str,
    within_seconds: float = 30,
) -> Any:
    """Ask again every 100 ms until the answer holds.

    Raises:
        TimeoutError: it did not in time; names what was waited for and the last answer.
    """
    deadline = asyncio.get_running_loop().time() + within_seconds
    while True:
        answer = await ask()
        if holds(answer):
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"{what}: not within {within_seconds:g} s; last seen: {answer!r}")
        await asyncio.sleep(0.1)


@cache
def _tls() -> ssl.SSLContext:
    """One for all clients: to make it takes longer than most of what they do."""
    return httpx.create_ssl_context()


class Trader:
    """One user of the product: signs in through Discord, links Roblox, then sells or buys."""

    def __init__(self, gateway_url: str, discord_login: str, roblox_login: str) -> None:
        self.discord_login = discord_login
        self.roblox_login = roblox_login
        self.user: dict[str, Any] = {}
        self._session_token = ""
        tls = _tls()
        self._http = httpx.AsyncClient(base_url=gateway_url, timeout=TIMEOUT_SECONDS, verify=tls)
        self._browser = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, verify=tls)
        """Goes wherever it is sent; knows no token."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._browser.aclose()

    @property
    def id(self) -> str:
        return str(self.user["id"])

    async def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> httpx.Response:
        """The raw answer. A POST gets a fresh Idempotency-Key unless `key` is given."""
        headers = {"Idempotency-Key": key or str(uuid4())} if method == "POST" else {}
        if method == "POST" and body is None:
            body = {}
        return await self._http.request(method, path, json=body, headers=headers)

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> Any:
        """The answer's JSON; asks again while a fact is still on its way (409 `not-yet-known`).

        Raises:
            Refused: any other problem.
        """
        key = key or str(uuid4())
        for _ in range(30):
            answer = await self.request(method, path, body, key=key)
            if not answer.is_error:
                return answer.json() if answer.content else None
            refusal = Refused(answer)
            if refusal.code not in {"not-yet-known", "ownership-unconfirmed"}:
                raise refusal
            await asyncio.sleep(min(float(answer.headers.get("Retry-After", 1)), 0.3))
        raise refusal

    async def sign_in(self) -> None:
        """Through Discord; then the access token is sent with every request."""
        signed_in = await self._through("discord", self.discord_login)
        self.user, self._session_token = signed_in["user"], signed_in["session_token"]
        await self.renew_access()

    async def renew_access(self) -> None:
        """Buy a new access token with the session token."""
        answer = await self._http.post(
            "/v1/auth/token", headers={"Authorization": f"Bearer {self._session_token}"}
        )
        if answer.is_error:
            raise Refused(answer)
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def link_roblox(self) -> None:
        self.user = (await self._through("roblox", self.roblox_login))["user"]
        await self.renew_access()

    async def _through(self, provider: str, login: str) -> Any:
        """Start at the service, log in at the provider's page, come back with its code."""
        started = await self.call("POST", f"/v1/auth/{provider}/start")
        page = urlsplit(started["authorization_url"])
        page = page._replace(query=f"{page.query}&{urlencode({'login': login})}")
        redirect = await self._browser.get(urlunsplit(page))
        back = urlsplit(redirect.headers["Location"])
        return await self.call("GET", f"{back.path}?{back.query}")

    async def verify_game(self, game_id: str) -> dict[str, Any]:
        """Ask for the ownership check and wait for its verdict."""
        asked = await self.call("POST", "/v1/verifications", {"game_id": game_id})
        verdict: dict[str, Any] = await until(
            lambda: self.call("GET", f"/v1/verifications/{asked['id']}"),
            lambda row: row["verification_status"] != "PENDING",
            f"verification of game {game_id}",
        )
        return verdict

    async def only(
        self,
        path: str,
        what: str,
        holds: Callable[[Any], Any] = bool,
        within_seconds: float = 30,
    ) -> dict[str, Any]:
        """The one item of a list, as soon as it is there and holds."""
        page = await until(
            lambda: self.call("GET", path),
            lambda page: page["items"] and holds(page["items"][0]),
            what,
            within_seconds,
        )
        item: dict[str, Any] = page["items"][0]
        return item

    async def state(
        self, path: str, status: str, what: str, within_seconds: float = 30
    ) -> dict[str, Any]:
        """The object at `path`, as soon as it has this status."""
        reached: dict[str, Any] = await until(
            lambda: self.call("GET", path),
            lambda row: row["status"] == status,
            f"{what} {status}",
            within_seconds,
        )
        return reached

    async def sign(self, contract: dict[str, Any]) -> dict[str, Any]:
        signed: dict[str, Any] = await self.call(
            "POST",
            f"/v1/contracts/{contract['id']}/sign",
            {"document_sha256": contract["document_sha256"], "consent": True},
        )
        return signed

    async def pay(self, escrow_id: str, stripe_url: str, card: str = "pm_card_visa") -> None:
        """Pay as the buyer's browser would: the client secret goes to the card processor."""
        path = f"/v1/escrows/{escrow_id}/payment"
        payment = await until(
            lambda: self.call("POST", path),
            lambda answer: "client_secret" in answer,
            "the payment to be ready",
        )
        paid = await self._browser.post(
            f"{stripe_url}/v1/payment_intents/{payment['payment_intent_id']}/confirm",
            data={"client_secret": payment["client_secret"], "payment_method": card},
            headers={"Authorization": "Bearer pk_test_bloxtr8"},
        )
        if paid.is_error:
            raise Refused(paid)

    async def become_payable(self) -> None:
        """Go through the payout onboarding page until the account can be paid."""
        account = await self.call("POST", "/v1/payout-account")
        await self._browser.get(account["onboarding_url"])
        await until(
            lambda: self.call("GET", "/v1/payout-account"),
            lambda row: row["is_payable"],
            "the payout account to be payable",
        )

    async def download(self, url: str) -> bytes:
        """The bytes behind a presigned address."""
        answer = await self._browser.get(url)
        answer.raise_for_status()
        return answer.content
