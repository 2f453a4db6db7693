"""Contracts' own database, a bucket, a sealing key of its own, and two people who agreed."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import ModificationLevel
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from contracts import repository, use_cases
from contracts.api import create_app
from contracts.documents.press import Press
from contracts.documents.seal import certificate_of
from contracts.documents.storage import Storage
from contracts.jobs import Works, expiries
from contracts.lifecycle import ContractStatus
from contracts.models import Contract, ContractExecutionJob
from contracts.settings import Settings
from contracts.use_cases import CREATION, PICTURE
from shared.deadlines import DeadlineTicker
from shared.events.cards import Deal, GameSnapshot, KycTier, PartyCard, TradeTerms
from shared.events.identity import UserUpdated
from shared.events.listings import OfferAccepted
from shared.ids import new_id
from shared.jobs import JobRunner
from shared.money import Currency, Rail
from shared.testing import Database, Stack, database_for
from shared.testing.tokens import TestIssuer

server, database, session, clock = database_for("contracts")

PUBLIC_URL = "http://127.0.0.1:8080"
HOUR, DAY = 3600, 86_400


def make_deal(**changes: object) -> Deal:
    """An agreement of new people about a new game."""
    now = datetime.now(UTC)
    seller = PartyCard(
        user_id=new_id(),
        name="Sasha",
        roblox_id="2001",
        roblox_name="sasha_builds",
        discord_id="100000000000000001",
        discord_name="sasha",
        kyc_tier=KycTier.TIER_1,
    )
    buyer = PartyCard(
        user_id=new_id(),
        name="Blair",
        roblox_id="2002",
        roblox_name="blair_plays",
        kyc_tier=KycTier.TIER_1,
    )
    deal = Deal(
        listing_id=new_id(),
        offer_id=new_id(),
        amount=450_000,
        currency=Currency.USD,
        conditions="All places included.",
        terms=TradeTerms(
            fee_basis_points=250,
            fee=11_250,
            rail=Rail.STRIPE,
            sign_within_seconds=72 * HOUR,
            pay_within_seconds=72 * HOUR,
            deliver_within_seconds=14 * DAY,
            auto_release_seconds=7 * DAY,
            reclaim_after_seconds=180 * DAY,
        ),
        seller=seller,
        buyer=buyer,
        game=GameSnapshot(
            game_id="9001",
            game_name="Skyline Tycoon",
            visits=1_234_567,
            player_count=1200,
            creator_id="2001",
            creator_type="User",
            creator_name="sasha_builds",
            taken_at=now,
        ),
        accepted_at=now,
    )
    return deal.model_copy(update=changes)


def accepted(deal: Deal) -> OfferAccepted:
    return OfferAccepted(version=1, offer_id=deal.offer_id, root_offer_id=deal.offer_id, deal=deal)


def told(card: PartyCard, *, version: int = 1, **changes: object) -> UserUpdated:
    """What identity says of a party."""
    return UserUpdated(
        version=version,
        user_id=card.user_id,
        name=card.name,
        kyc_tier=card.kyc_tier,
        is_frozen=False,
        roles=[],
        wallet_risk="UNKNOWN",
        effective_from=datetime.now(UTC),
    ).model_copy(update=changes)


@dataclass(frozen=True)
class SealFiles:
    store: Path
    password: str
    root: Path


def make_seal(folder: Path, key: rsa.RSAPrivateKey | None = None) -> SealFiles:
    """An authority and a sealing key below it, elliptic unless given."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    sealing_key = key or ec.generate_private_key(ec.SECP256R1())
    root_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("root", "seal")
    )
    now = datetime.now(UTC)

    def certificate(
        subject: x509.Name, public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, *, is_ca: bool
    ) -> x509.Certificate:
        usage = dict.fromkeys(
            (
                "digital_signature",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    content_commitment=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, **usage
                ),
                critical=True,
            )
            .sign(root_key, hashes.SHA256())
        )

    authority = certificate(root_name, root_key.public_key(), is_ca=True)
    leaf = certificate(name, sealing_key.public_key(), is_ca=False)
    files = SealFiles(folder / "seal.p12", "secret", folder / "root.pem")
    files.root.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files.store.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"seal",
            sealing_key,
            leaf,
            [authority],
            serialization.BestAvailableEncryption(files.password.encode()),
        )
    )
    return files


@pytest.fixture(scope="session")
def seal_files(tmp_path_factory: pytest.TempPathFactory) -> SealFiles:
    return make_seal(tmp_path_factory.mktemp("seal"))


@pytest.fixture(scope="session")
async def press(seal_files: SealFiles) -> AsyncIterator[Press]:
    made = Press(str(seal_files.store), seal_files.password, str(seal_files.root))
    yield made
    await made.close()


@pytest.fixture(scope="session")
def environment(postgres_server: Stack, server: Database, seal_files: SealFiles) -> dict[str, str]:
    """What a process of contracts needs; its broker does not answer, so nothing leaves it."""
    postgres_server.start("s3", "bucket")
    s3 = postgres_server.s3("contracts")
    return {
        "CONTRACTS_ENVIRONMENT": "test",
        "CONTRACTS_DATABASE_URL": server.app_dsn,
        "CONTRACTS_OPS_PORT": "0",
        "CONTRACTS_PUBLIC_URL": PUBLIC_URL,
        "CONTRACTS_JWKS_URL": "http://127.0.0.1:1/jwks.json",
        "CONTRACTS_JWT_ISSUER": PUBLIC_URL,
        "CONTRACTS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "CONTRACTS_KAFKA_USERNAME": "contracts",
        "CONTRACTS_KAFKA_USE_SSL": "false",
        "CONTRACTS_S3_ENDPOINT_URL": s3["endpoint_url"],
        "CONTRACTS_S3_ACCESS_KEY": s3["aws_access_key_id"],
        "CONTRACTS_S3_SECRET_KEY": s3["aws_secret_access_key"],
        "CONTRACTS_S3_REGION": s3["region_name"],
        "CONTRACTS_SEAL_PKCS12_FILE": str(seal_files.store),
        "CONTRACTS_SEAL_PKCS12_PASSWORD": seal_files.password,
        "CONTRACTS_SEAL_ROOT_FILE": str(seal_files.root),
    }


@pytest.fixture(scope="session")
def settings(environment: dict[str, str]) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return Settings()


@pytest.fixture(scope="session")
def storage(settings: Settings) -> Storage:
    return Storage(settings)


def prove(sealed: bytes, root_file: Path) -> None:
    """Trusted, intact, and covering the entire file."""
    [seal] = PdfFileReader(io.BytesIO(sealed)).embedded_signatures
    trusted = ValidationContext(trust_roots=[certificate_of(root_file)], allow_fetching=False)
    # pyHanko starts an event loop of its own, so this is for a thread without one.
    status = validate_pdf_signature(seal, trusted)
    assert (status.trusted, status.intact, status.valid, status.bottom_line) == (True,) * 4
    assert status.coverage is SignatureCoverageLevel.ENTIRE_FILE
    assert status.modification_level is ModificationLevel.NONE


@dataclass
class Office:
    """The service without its processes: commands, jobs and deadlines in this one."""

    database: Database
    works: Works
    settings: Settings
    storage: Storage

    async def accept(self, deal: Deal) -> None:
        """The offer is accepted and both parties are known."""
        async with self.database.sessions.begin() as session:
            for card in (deal.seller, deal.buyer):
                await repository.keep_user(session, told(card))
            await use_cases.begin(session, accepted(deal))

    async def run_creation(self) -> bool:
        return await JobRunner(self.database.sessions, {CREATION: self.works.creation}).run_one()

    async def run_picture(self) -> bool:
        return await JobRunner(self.database.sessions, {PICTURE: self.works.picture}).run_one()

    async def run_execution(self) -> bool:
        return await JobRunner(
            self.database.sessions,
            self.works.execution,
            ContractExecutionJob,
            retry_delays_seconds=self.settings.retry_delays_seconds,
        ).run_one()

    async def tick(self) -> int:
        return await DeadlineTicker(self.database.sessions, expiries()).tick()

    async def contract(self, deal: Deal) -> Contract:
        row = await self.database.one("SELECT id FROM contracts WHERE offer_id = $1", deal.offer_id)
        return await self.read(row["id"])

    async def read(self, contract_id: UUID) -> Contract:
        """The contract as it is; the seal of an executed one is proven by pyHanko itself."""
        async with self.database.sessions() as session:
            contract = await session.get(Contract, contract_id)
        assert contract is not None
        if contract.status is ContractStatus.EXECUTED:
            assert contract.sealed_key is not None
            sealed, _ = await self.storage.read(contract.sealed_key, contract.sealed_version_id)
            assert hashlib.sha256(sealed).hexdigest() == contract.sealed_sha256
            await asyncio.to_thread(prove, sealed, self.settings.seal_root_file)
        return contract

    async def draw_up(self, deal: Deal) -> Contract:
        """A contract that waits for its signatures."""
        await self.accept(deal)
        assert await self.run_creation()
        return await self.contract(deal)

    async def copies(self, contract: Contract, count: int) -> Sequence[Contract]:
        """Drawn-up contracts like this one: many are needed at times, but not many documents."""
        await self.database.rows(
            "INSERT INTO contracts (id, offer_id, root_offer_id, listing_id, seller_id, buyer_id,"
            " status, version, deal, roblox_asset_data, template_version, pdf_url, pdf_version_id,"
            " sha256, sign_by) SELECT gen_random_uuid(), gen_random_uuid(), root_offer_id,"
            " listing_id, seller_id, buyer_id, status, version, deal, roblox_asset_data,"
            " template_version, pdf_url, pdf_version_id, sha256, sign_by"
            " FROM contracts, generate_series(1, $1) WHERE id = $2",
            count,
            contract.id,
        )
        async with self.database.sessions() as session:
            copies = sa.select(Contract).where(Contract.id != contract.id)
            return (await session.scalars(copies)).all()

    async def sign(self, contract: Contract, *user_ids: UUID) -> None:
        for user_id in user_ids or (contract.seller_id, contract.buyer_id):
            assert contract.sha256 is not None
            async with self.database.sessions.begin() as session:
                await use_cases.sign(session, contract.id, user_id, contract.sha256)

    async def begin_execution(self, contract: Contract) -> None:
        async with self.database.sessions.begin() as session:
            await use_cases.begin_execution(session, contract.id)

    async def execute(self, deal: Deal) -> Contract:
        """A contract in force."""
        contract = await self.draw_up(deal)
        await self.sign(contract)
        await self.begin_execution(contract)
        assert await self.run_execution()
        executed = await self.read(contract.id)
        assert executed.status is ContractStatus.EXECUTED
        return executed

    async def execute_beside(self, deal: Deal) -> Contract:
        """As `execute`, while another execution waits."""
        await self.database.rows(
            "UPDATE contract_execution_jobs SET next_retry_at = clock() + interval '1 hour'"
        )
        executed = await self.execute(deal)
        await self.database.rows("UPDATE contract_execution_jobs SET next_retry_at = clock()")
        return executed

    async def events(self, topic: str, contract_id: UUID) -> list[dict[str, Any]]:
        """What was said about a contract on a topic, in order."""
        rows = await self.database.rows(
            "SELECT convert_from(payload, 'UTF8') AS said FROM outbox"
            " WHERE topic = $1 AND aggregate_id = $2 ORDER BY sequence",
            topic,
            str(contract_id),
        )
        return [json.loads(row["said"]) for row in rows]


@pytest.fixture
def office(database: Database, storage: Storage, press: Press, settings: Settings) -> Office:
    return Office(database, Works(database.sessions, storage, press), settings, storage)


@pytest.fixture(scope="session")
def issuer() -> TestIssuer:
    return TestIssuer(PUBLIC_URL)


@pytest.fixture(scope="session")
def app(server: Database, settings: Settings, issuer: TestIssuer) -> FastAPI:
    """The api; what it keeps between requests is in the database and in S3."""
    return create_app(settings, server.sessions, issuer.key_source())


@pytest.fixture
async def http(database: Database, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the api."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://contracts") as client:
        yield client
