"""How much work a contract is, from the accepted offer to the sealed document.

`render_seal_cpu_ms`: CPU of rendering the document and sealing it with its certificate, the seal
checked, in one process; median. `contracts_per_second_per_core`: whole contracts through the jobs,
PostgreSQL and S3, one after the other, over the CPU that this process and its press used; the
shares are of the elapsed time. `cpu_ratio`: a whole contract's CPU over render and seal alone.
"""

import asyncio
import hashlib
import os
import random
import statistics
import string
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bloxtr8 import seal
from bloxtr8.home import Home
from contracts import repository, use_cases
from contracts.documents.inputs import Certificate, Draft, Happened, Signed
from contracts.documents.press import Press
from contracts.documents.printing import Printer
from contracts.documents.storage import Storage
from contracts.jobs import Works
from contracts.models import ContractExecutionJob
from contracts.settings import Settings
from contracts.use_cases import CREATION
from shared.database import Sessions, create_engine
from shared.events.cards import Deal, GameSnapshot, KycTier, PartyCard, TradeTerms
from shared.events.identity import UserUpdated
from shared.events.listings import OfferAccepted
from shared.ids import new_id
from shared.jobs import JobRunner
from shared.money import Currency, Rail
from shared.testing import Stack

CONTRACTS = 40
WARM_UP = 5
MONTH = 30 * 86_400


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def deal() -> Deal:
    """Every contract is about other people, another game and another price."""
    now, chance = datetime.now(UTC), random.Random()  # noqa: S311 - no secret
    word = "".join(chance.choices(string.ascii_lowercase, k=5))
    seller, buyer = (
        PartyCard(
            user_id=new_id(),
            name=f"{name} {word.title()}",
            roblox_id=str(chance.randrange(10**9)),
            roblox_name=f"{name.lower()}_{word}",
            kyc_tier=KycTier.TIER_1,
        )
        for name in ("Sasha", "Blair")
    )
    return Deal(
        listing_id=new_id(),
        offer_id=new_id(),
        amount=chance.randrange(100_000, 900_000),
        currency=Currency.USD,
        conditions="All places included.",
        terms=TradeTerms(
            fee_basis_points=250,
            fee=11_250,
            rail=Rail.STRIPE,
            sign_within_seconds=MONTH,
            pay_within_seconds=MONTH,
            deliver_within_seconds=MONTH,
            auto_release_seconds=MONTH,
            reclaim_after_seconds=MONTH,
        ),
        seller=seller,
        buyer=buyer,
        game=GameSnapshot(
            game_id=str(chance.randrange(10**9)),
            game_name=f"{word.title()} Tycoon",
            creator_id=seller.roblox_id,
            creator_type="User",
            taken_at=now,
        ),
        accepted_at=now,
    )


def certificate(agreed: Deal, contract_id: Any) -> Certificate:
    now = datetime.now(UTC)
    parties = (("SELLER", agreed.seller), ("BUYER", agreed.buyer))
    return Certificate(
        contract_id=contract_id,
        document_sha256="0" * 64,
        template_version="1.0.0",
        consent="I have read this contract and agree to it.",
        signatures=[
            Signed(
                role=role,
                name=card.name,
                user_id=card.user_id,
                method="API",
                signed_at=now,
                ip="203.0.113.7",
                user_agent="Mozilla/5.0",
                document_sha256="0" * 64,
                consent_version="1.0.0",
            )
            for role, card in parties
        ],
        events=[
            Happened(at=now, what=what, user_id=card.user_id, ip="203.0.113.7")
            for _, card in parties
            for what in ("contract.viewed", "contract.part_signed")
        ],
    )


def render_and_seal(files: tuple[str, str, str], terms: dict[str, Any]) -> float:
    """Median CPU of one document, in milliseconds."""
    printer, took = Printer(*files), []
    for _ in range(CONTRACTS + WARM_UP):
        agreed, contract_id = deal(), new_id()
        draft = Draft(
            contract_id=contract_id,
            root_offer_id=agreed.offer_id,
            deal=agreed,
            sign_by=datetime.now(UTC),
            template_version="1.0.0",
        ).model_dump(mode="json")
        facts = certificate(agreed, contract_id).model_dump(mode="json")
        started = time.process_time()
        document = printer.render(draft, terms)
        printer.seal(document, facts | {"document_sha256": hashlib.sha256(document).hexdigest()})
        took.append((time.process_time() - started) * 1000)
    return statistics.median(took[WARM_UP:])


class Watch:
    """Elapsed seconds by what was waited for."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, thing: Any, method: str, what: str) -> None:
        real = getattr(thing, method)

        async def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return await real(*arguments)
            finally:
                took = time.perf_counter() - started
                self.seconds[what] = self.seconds.get(what, 0.0) + took

        setattr(thing, method, timed)


async def whole(settings: Settings, files: tuple[str, str, str]) -> tuple[float, dict[str, float]]:
    """CPU milliseconds of a contract, and the share of each part in the elapsed time."""
    engine = create_engine(settings)
    sessions, storage, press = Sessions(engine), Storage(settings), Press(*files)
    watch = Watch()
    for thing, method, what in (
        (press, "render", "render"),
        (press, "seal", "seal"),
        (storage, "put_once", "s3"),
        (storage, "read", "s3"),
    ):
        watch.around(thing, method, what)
    works = Works(sessions, storage, press)
    creating = JobRunner(sessions, {CREATION: works.creation})
    executing = JobRunner(sessions, works.execution, ContractExecutionJob)

    def cpu() -> float:
        here = psutil.Process()
        return sum(
            sum(process.cpu_times()[:2]) for process in (here, *here.children(recursive=True))
        )

    async def make() -> None:
        agreed = deal()
        async with sessions.begin() as session:
            for card in (agreed.seller, agreed.buyer):
                await repository.keep_user(
                    session,
                    UserUpdated(
                        version=1,
                        user_id=card.user_id,
                        name=card.name,
                        kyc_tier=card.kyc_tier,
                        is_frozen=False,
                        roles=[],
                        wallet_risk="UNKNOWN",
                        effective_from=datetime.now(UTC),
                    ),
                )
            offer = agreed.offer_id
            fact = OfferAccepted(version=1, offer_id=offer, root_offer_id=offer, deal=agreed)
            await use_cases.begin(session, fact)
        assert await creating.run_one()
        async with sessions.begin() as session:
            [contract] = await repository.newest(
                session,
                party=agreed.buyer.user_id,
                offer_id=None,
                status=None,
                before=None,
                limit=1,
            )
            assert contract.sha256 is not None
            for card in (agreed.seller, agreed.buyer):
                await use_cases.sign(session, contract.id, card.user_id, contract.sha256)
            await use_cases.begin_execution(session, contract.id)
        assert await executing.run_one()

    for _ in range(WARM_UP):
        await make()
    watch.seconds.clear()
    started, cpu_before = time.perf_counter(), cpu()
    for _ in range(CONTRACTS):
        await make()
    elapsed, used = time.perf_counter() - started, cpu() - cpu_before
    await press.close()
    await engine.dispose()
    shares = {what: seconds / elapsed for what, seconds in sorted(watch.seconds.items())}
    return used / CONTRACTS * 1000, shares | {"database": 1 - sum(shares.values())}


def main() -> None:
    with Stack.started() as stack, tempfile.TemporaryDirectory() as folder:
        say("starting PostgreSQL and S3 …")
        stack.start("migrations", "s3", "bucket")
        home = Home(Path(folder), {})
        store, root = seal.make(home)
        s3 = stack.s3("contracts")
        values = {
            "ENVIRONMENT": "test",
            "DATABASE_URL": stack.app_dsn("contracts"),
            "OPS_PORT": "0",
            "PUBLIC_URL": "http://127.0.0.1",
            "JWKS_URL": "http://127.0.0.1:1/jwks.json",
            "JWT_ISSUER": "http://127.0.0.1",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "KAFKA_USERNAME": "contracts",
            "KAFKA_USE_SSL": "false",
            "S3_ENDPOINT_URL": s3["endpoint_url"],
            "S3_ACCESS_KEY": s3["aws_access_key_id"],
            "S3_SECRET_KEY": s3["aws_secret_access_key"],
            "S3_REGION": s3["region_name"],
            "SEAL_PKCS12_FILE": str(store),
            "SEAL_PKCS12_PASSWORD": home.secret("seal"),
            "SEAL_ROOT_FILE": str(root),
        }
        os.environ.update({f"CONTRACTS_{name}": value for name, value in values.items()})
        settings = Settings()
        files = (str(store), home.secret("seal"), str(root))
        say(f"rendering and sealing {CONTRACTS} documents …")
        alone = render_and_seal(files, asyncio.run(terms_of(settings)))
        say(f"carrying {CONTRACTS} contracts from the offer to the seal …")
        cpu_ms, shares = asyncio.run(whole(settings, files))
    parts = " ".join(f"{what}_share={share:.2f}" for what, share in shares.items())
    print(
        f"render_seal_cpu_ms={alone:.1f} contracts_per_second_per_core={1000 / cpu_ms:.1f}"
        f" cpu_ratio={cpu_ms / alone:.2f} {parts}"
    )


async def terms_of(settings: Settings) -> dict[str, Any]:
    engine = create_engine(settings)
    async with Sessions(engine)() as session:
        terms = await repository.terms(session, "1.0.0")
    await engine.dispose()
    return terms


if __name__ == "__main__":
    main()
