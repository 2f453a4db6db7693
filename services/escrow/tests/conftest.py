"""One escrow service over HTTP and its jobs, beside a Stripe that does as it is told."""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import stripe
import structlog

from escrow.api import create_app
from escrow.deadlines import EXPIRIES
from escrow.evidence.storage import Storage
from escrow.evidence_jobs import EvidenceJobs
from escrow.jobs import StripeJobs
from escrow.rails.stripe import StripeRail
from escrow.settings import Settings
from escrow.use_cases import opening
from shared.deadlines import DeadlineTicker
from shared.events.cards import (
    Deal,
    GameOwnershipType,
    GameSnapshot,
    KycTier,
    PartyCard,
    TradeTerms,
    VerificationMethod,
)
from shared.events.contracts import ContractExecuted, SealedDocument
from shared.events.identity import AssetVerificationFailed, AssetVerified
from shared.ids import new_id
from shared.jobs import JobRunner
from shared.money import currency_for, fee_cents, rail_for
from shared.testing import Database, Stack, database_for, free_port
from shared.testing.tokens import ISSUER, TestIssuer

server, database, session, clock = database_for("escrow")

API_KEY = "sk_test_escrow"
SECRET, OLD_SECRET = "whsec_new", "whsec_old"
PRICE, FEE, PAYOUT = 450_000, 11_250, 438_750
"""$4,500.00, of which 2.5 % stay with the platform."""


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Tracebacks as text; drawing them with every local takes seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    )


class Stripe:
    """The simulated Stripe: what it holds, how it misbehaves, what it would tell us."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.AsyncClient(base_url=url, timeout=10)

    async def reset(self) -> None:
        """Forget everything and send no webhook; tests deliver them."""
        await self.http.post("/_sim/reset")
        await self.http.delete("/_sim/rules")
        await self.http.put("/_sim/webhooks", json={"hold": True})

    async def objects(self, kind: str) -> list[dict[str, Any]]:
        answer = await self.http.get("/_sim/objects", params={"kind": kind})
        found: list[dict[str, Any]] = answer.json()[kind]
        return found

    async def only(self, kind: str) -> dict[str, Any]:
        [found] = await self.objects(kind)
        return found

    async def misbehave(self, path: str, action: str, method: str = "POST", **rule: Any) -> None:
        answer = await self.http.post(
            "/_sim/rules", json={"method": method, "path": path, "action": action, **rule}
        )
        answer.raise_for_status()

    async def say(self, kind: str, object_id: str, **fields: Any) -> None:
        """Make Stripe say something else about an object."""
        (await self.http.post(f"/_sim/objects/{kind}/{object_id}", json=fields)).raise_for_status()

    async def posts(self, path: str) -> list[str]:
        """The idempotency keys of every POST to this path."""
        requests = (await self.http.get("/_sim/requests")).json()
        return [
            request["idempotency_key"]
            for request in requests
            if (request["method"], request["path"]) == ("POST", path)
        ]

    async def events(self, event_type: str) -> list[dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {API_KEY}",
            "Stripe-Version": stripe._api_version._ApiVersion.CURRENT,
        }
        params = {"type": event_type, "limit": "100"}
        found = await self.http.get("/v1/events", params=params, headers=headers)
        events: list[dict[str, Any]] = found.raise_for_status().json()["data"]
        return events

    async def pay(self, client_secret: str, card: str = "pm_card_visa") -> None:
        """What the buyer's browser does."""
        payment_id = client_secret.partition("_secret_")[0]
        paid = await self.http.post(
            f"/v1/payment_intents/{payment_id}/confirm",
            data={"client_secret": client_secret, "payment_method": card},
            headers={"Authorization": "Bearer pk_test_escrow"},
        )
        paid.raise_for_status()

    async def charge_back(self) -> str:
        """The bank takes the only payment back, and Stripe has lost the case at once."""
        charge = await self.only("charge")
        opened = await self.http.post("/_sim/disputes", json={"charge": charge["id"]})
        dispute_id = str(opened.json()["id"])
        (await self.http.post(f"/_sim/disputes/{dispute_id}/lose")).raise_for_status()
        return dispute_id

    async def close(self) -> None:
        await self.http.aclose()


@pytest.fixture(scope="session")
def simulators() -> Iterator[str]:
    port = free_port()
    names = {
        "PORT": str(port),
        "STRIPE_WEBHOOK_URL": "http://127.0.0.1:9/nobody",
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_API_KEY": API_KEY,
        **dict.fromkeys(
            (
                "DISCORD_CLIENT_ID",
                "DISCORD_CLIENT_SECRET",
                "ROBLOX_CLIENT_ID",
                "ROBLOX_CLIENT_SECRET",
            ),
            "unused",
        ),
    }
    environment = os.environ | {f"SIMULATORS_{name}": value for name, value in names.items()}
    process = subprocess.Popen([sys.executable, "-m", "simulators"], env=environment)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    with httpx.Client(base_url=url) as client:
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if client.get("/health/ready").status_code == 200:
                    break
            time.sleep(0.05)
    yield f"{url}/stripe"
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
async def world(simulators: str) -> AsyncIterator[Stripe]:
    made = Stripe(simulators)
    yield made
    await made.close()


@pytest.fixture
async def provider(world: Stripe) -> Stripe:
    """An empty Stripe that behaves."""
    await world.reset()
    return world


@dataclass(frozen=True)
class Trade:
    """Two people and what they agreed to."""

    seller_id: UUID = field(default_factory=uuid4)
    buyer_id: UUID = field(default_factory=uuid4)
    game_id: str = "9001"
    amount: int = PRICE
    contract_id: UUID = field(default_factory=uuid4)
    offer_id: UUID = field(default_factory=uuid4)
    listing_id: UUID = field(default_factory=uuid4)

    def _card(self, user_id: UUID, name: str) -> PartyCard:
        return PartyCard(
            user_id=user_id,
            name=name,
            roblox_id="2001",
            roblox_name=name,
            kyc_tier=KycTier.TIER_1,
        )

    @property
    def game(self) -> GameSnapshot:
        return GameSnapshot(
            game_id=self.game_id,
            game_name="Skyline Tycoon",
            creator_id="2001",
            creator_type="User",
            taken_at=datetime(2026, 11, 1, tzinfo=UTC),
        )

    def executed(self, **terms: Any) -> ContractExecuted:
        rail = rail_for(self.amount)
        usual = {
            "fee_basis_points": 250,
            "fee": fee_cents(self.amount, 250),
            "rail": rail,
            "sign_within_seconds": 259_200,
            "pay_within_seconds": 259_200,
            "deliver_within_seconds": 1_209_600,
            "auto_release_seconds": 604_800,
            "reclaim_after_seconds": 15_552_000,
        }
        deal = Deal(
            listing_id=self.listing_id,
            offer_id=self.offer_id,
            amount=self.amount,
            currency=currency_for(self.amount),
            terms=TradeTerms.model_validate(usual | terms),
            seller=self._card(self.seller_id, "sasha"),
            buyer=self._card(self.buyer_id, "blair"),
            game=self.game,
            accepted_at=datetime(2026, 11, 1, tzinfo=UTC),
        )
        return ContractExecuted(
            version=3,
            contract_id=self.contract_id,
            offer_id=self.offer_id,
            root_offer_id=self.offer_id,
            listing_id=self.listing_id,
            seller_id=self.seller_id,
            buyer_id=self.buyer_id,
            deal=deal,
            document_sha256="a" * 64,
            sealed=SealedDocument(bucket="contracts", key="k", version_id="v", sha256="b" * 64),
            executed_at=datetime(2026, 11, 1, tzinfo=UTC),
        )

    def verified(self, checked_at: datetime, version: int = 2) -> AssetVerified:
        return AssetVerified(
            version=version,
            verification_id=new_id(),
            user_id=self.seller_id,
            game_id=self.game_id,
            ownership_type=GameOwnershipType.OWNER,
            method=VerificationMethod.GAME_OWNERSHIP_API,
            checked_at=checked_at,
            valid_until=checked_at + timedelta(days=1),
            game=self.game,
        )

    def not_verified(self, checked_at: datetime, version: int = 3) -> AssetVerificationFailed:
        return AssetVerificationFailed(
            version=version,
            verification_id=new_id(),
            user_id=self.seller_id,
            game_id=self.game_id,
            ownership_type=GameOwnershipType.OWNER,
            method=VerificationMethod.GAME_OWNERSHIP_API,
            checked_at=checked_at,
            reason="OWNER_CHANGED",
        )


class Desk:
    """The service as its callers see it, and its jobs, run when a test says so."""

    def __init__(self, database: Database, provider: Stripe, settings: Settings) -> None:
        self.database = database
        self.provider = provider
        self.settings = settings
        self.issuer = TestIssuer()
        self.rail = StripeRail(settings, database.sessions)
        self.storage = Storage(settings)
        self.runner = self.runner_of_its_own()
        self.ticker = DeadlineTicker(database.sessions, EXPIRIES)
        app = create_app(settings, database.sessions, self.issuer.key_source())
        self.app = app
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url=settings.public_url
        )

        self.browser = httpx.AsyncClient()

    def runner_of_its_own(self) -> JobRunner[Any]:
        sessions = self.database.sessions
        works = StripeJobs(sessions, self.rail, "test").works()
        return JobRunner(sessions, {**works, **EvidenceJobs(sessions, self.storage).works()})

    async def work(self) -> None:
        """Do every job that is due."""
        while await self.runner.run_one():
            pass

    async def work_later(self) -> None:
        """Do every job, also those that would wait."""
        await self.database.rows("UPDATE jobs SET run_at = clock() WHERE status = 'PENDING'")
        await self.work()

    async def open(
        self, trade: Trade, *, is_owner_confirmed: bool = True, work: bool = True, **terms: Any
    ) -> UUID:
        """The escrow of a trade, with its payment made ready."""
        async with self.database.sessions.begin() as session:
            await opening.open_escrow(session, trade.executed(**terms))
        row = await self.database.one(
            "SELECT id, created_at FROM escrows WHERE contract_id = $1", trade.contract_id
        )
        if is_owner_confirmed:
            check = trade.verified(row["created_at"] + timedelta(milliseconds=1))
            async with self.database.sessions.begin() as session:
                await opening.note_ownership(session, check)
        if work:
            await self.work()
        escrow_id: UUID = row["id"]
        return escrow_id

    async def funded(self, trade: Trade) -> UUID:
        """An escrow whose money is held, seen by polling alone."""
        escrow_id = await self.open(trade)
        await self.pay(trade, escrow_id)
        await self.work_later()
        assert await self.status(escrow_id) == "FUNDS_HELD"
        return escrow_id

    async def pay(self, trade: Trade, escrow_id: UUID) -> None:
        answer = await self.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/payment")
        assert answer.status_code == 200, answer.text
        await self.provider.pay(answer.json()["client_secret"])

    async def delivered(self, trade: Trade) -> UUID:
        escrow_id = await self.funded(trade)
        answer = await self.deliver(trade, escrow_id)
        assert answer.status_code == 200, answer.text
        return escrow_id

    async def deliver(self, trade: Trade, escrow_id: UUID) -> httpx.Response:
        return await self.post(
            trade.seller_id,
            f"/v1/escrows/{escrow_id}/deliver",
            {"title": "Game transferred", "description": "To the buyer's group."},
        )

    async def confirm(self, trade: Trade, escrow_id: UUID) -> httpx.Response:
        return await self.post(trade.buyer_id, f"/v1/escrows/{escrow_id}/confirm")

    async def refund(self, user_id: UUID, escrow_id: UUID, **claims: Any) -> httpx.Response:
        return await self.post(
            user_id, f"/v1/escrows/{escrow_id}/refund", {"reason": "Sold elsewhere."}, **claims
        )

    async def make_payable(self, user_id: UUID) -> None:
        """Go through the provider's onboarding page."""
        answer = await self.post(user_id, "/v1/payout-account")
        assert answer.status_code == 200, answer.text
        await self.provider.http.get(answer.json()["onboarding_url"])
        answer = await self.get(user_id, "/v1/payout-account")
        assert answer.json() == {"is_payable": True, "has_account": True}

    async def post(
        self,
        user_id: UUID,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        **claims: Any,
    ) -> httpx.Response:
        headers = self.issuer.authorization(user_id, **claims)
        headers["Idempotency-Key"] = key or uuid4().hex
        return await self.http.post(path, json=body or {}, headers=headers)

    async def get(self, user_id: UUID, path: str, **claims: Any) -> httpx.Response:
        headers = self.issuer.authorization(user_id, **claims)
        return await self.http.get(path, headers=headers)

    async def announce(
        self, user_id: UUID, escrow_id: UUID, file: bytes, content_type: str, /, **other: Any
    ) -> httpx.Response:
        said = {"file_name": "proof", "content_type": content_type, "size": len(file)}
        return await self.post(user_id, f"/v1/escrows/{escrow_id}/evidence", said | other)

    async def upload(
        self, user_id: UUID, escrow_id: UUID, file: bytes, content_type: str = "text/plain"
    ) -> str:
        """A file whose bytes are in S3, and whose check has been asked for."""
        announced = await self.announce(user_id, escrow_id, file, content_type)
        assert announced.status_code == 200, announced.text
        form, file_id = announced.json()["upload"], announced.json()["file"]["id"]
        assert (await self.send(form, file)).status_code == 204
        path = f"/v1/escrows/{escrow_id}/evidence/{file_id}/complete"
        asked = await self.post(user_id, path)
        assert (asked.status_code, asked.json()["status"]) == (200, "CHECKING")
        return str(file_id)

    async def send(self, form: dict[str, Any], file: bytes, **changed: str) -> httpx.Response:
        """What a browser does with an upload form."""
        fields = form["fields"] | changed
        return await self.browser.post(form["url"], data=fields, files={"file": ("file", file)})

    async def evidence(
        self, user_id: UUID, escrow_id: UUID, file: bytes, content_type: str = "text/plain"
    ) -> dict[str, Any]:
        """A file that has been uploaded and checked."""
        file_id = await self.upload(user_id, escrow_id, file, content_type)
        await self.work()
        answer = await self.get(user_id, f"/v1/escrows/{escrow_id}/evidence/{file_id}")
        found: dict[str, Any] = answer.json()
        return found

    async def webhook(
        self,
        event: dict[str, Any],
        *,
        secret: str = SECRET,
        at: int | None = None,
        signature: str | None = None,
    ) -> httpx.Response:
        body = json.dumps(event)
        signed = stripe.WebhookSignature.generate_signature_header(body, secret, at)
        return await self.http.post(
            "/v1/webhooks/stripe",
            content=body,
            headers={"Stripe-Signature": signature if signature is not None else signed},
        )

    async def differences(self) -> list[tuple[str, int, int]]:
        """Compare with Stripe now: the object, cents at Stripe, cents in the ledger."""
        await self.database.rows("DELETE FROM jobs WHERE kind = 'stripe.reconcile'")
        await self.database.rows(
            "INSERT INTO jobs (id, job_key, kind, payload, headers, max_attempts) VALUES"
            " (gen_random_uuid(), gen_random_uuid()::text, 'stripe.reconcile', '{}', '{}', 5)"
        )
        await self.work()
        answer = await self.get(uuid4(), "/v1/escrow/differences", roles=["moderator"])
        found = answer.json()["items"]
        return [(one["reference"], one["at_stripe"], one["in_ledger"]) for one in found]

    async def status(self, escrow_id: UUID) -> str:
        row = await self.database.one("SELECT status FROM escrows WHERE id = $1", escrow_id)
        return str(row["status"])

    async def postings(self, escrow_id: UUID) -> list[tuple[str, str, int, str]]:
        """(cause, account, amount, currency) in the order they were posted."""
        rows = await self.database.rows(
            "SELECT t.cause, e.account, e.amount, e.currency FROM ledger_entries e"
            " JOIN ledger_transactions t ON t.id = e.transaction_id"
            " WHERE t.escrow_id = $1 ORDER BY t.id, e.id",
            escrow_id,
        )
        return [(row["cause"], row["account"], row["amount"], row["currency"]) for row in rows]

    async def told(self, escrow_id: UUID) -> list[dict[str, Any]]:
        """The facts recorded of an escrow, with their topic."""
        rows = await self.database.rows(
            "SELECT topic, payload FROM outbox WHERE aggregate_id = $1 ORDER BY sequence",
            str(escrow_id),
        )
        return [{"topic": row["topic"], **json.loads(row["payload"])} for row in rows]

    async def topics(self, escrow_id: UUID) -> list[str]:
        return [fact["topic"] for fact in await self.told(escrow_id)]

    async def announced(self, topics: Sequence[str]) -> list[tuple[str, str]]:
        """(aggregate, topic) of each event of these topics."""
        query = "SELECT aggregate_id, topic FROM outbox WHERE topic = ANY($1)"
        rows = await self.database.rows(query, topics)
        return [(row["aggregate_id"], row["topic"]) for row in rows]

    async def close(self) -> None:
        await self.http.aclose()
        await self.browser.aclose()
        await self.rail.close()
        await self.app.state.outside.rail.close()


def settings_for(database: Database, provider: Stripe, s3: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {
            "environment": "test",
            "database_url": database.app_dsn,
            "ops_port": 0,
            "public_url": ISSUER,
            "jwt_issuer": ISSUER,
            "jwks_url": f"{ISSUER}/.well-known/jwks.json",
            "s3_endpoint_url": s3["endpoint_url"],
            "s3_access_key": s3["aws_access_key_id"],
            "s3_secret_key": s3["aws_secret_access_key"],
            "s3_region": s3["region_name"],
            "stripe_api_key": API_KEY,
            "stripe_api_url": provider.url,
            "stripe_webhook_secrets": f"{SECRET},{OLD_SECRET}",
            "stripe_timeout_seconds": 1,
        }
    )


@pytest.fixture(scope="session")
async def office(postgres_server: Stack, server: Database, world: Stripe) -> AsyncIterator[Desk]:
    postgres_server.start("s3", "bucket")
    made = Desk(server, world, settings_for(server, world, postgres_server.s3("escrow")))
    yield made
    await made.close()


@pytest.fixture
async def desk(office: Desk, database: Database, provider: Stripe) -> Desk:
    """The service with nothing in its database and nothing at Stripe."""
    return office


@pytest.fixture
def trade() -> Trade:
    return Trade()
