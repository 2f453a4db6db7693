"""How fast money is posted, and how fast an escrow's command answers.

Both against a bare asyncpg transaction of three inserted rows, on one connection, in the same run;
turns alternate, medians. `postings_ratio`: transactions of the ledger with three entries each,
written as the product writes them, over the pool's connections. `command_ratio`: `POST
/v1/escrows/{id}/deliver` with token, idempotency key, lock, outbox and audit, as a server hands it
to the application: without a client's or a socket's own cost.
"""

import asyncio
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import structlog
import uvloop
from starlette.types import ASGIApp, Message

from escrow import postings, repository
from escrow.api import create_app
from escrow.book_repository import post
from escrow.postings import Cause
from escrow.settings import Settings
from escrow.use_cases import opening
from shared import process
from shared.database import POOL_CONNECTIONS, Sessions, create_engine
from shared.events.cards import Deal, GameSnapshot, KycTier, PartyCard, TradeTerms
from shared.events.contracts import ContractExecuted, SealedDocument
from shared.ids import new_id
from shared.money import Currency, Rail
from shared.testing import Stack
from shared.testing.tokens import TestIssuer

TURNS = 11
BARE = 600
POSTINGS = 300
COMMANDS = 100
SIDE_BY_SIDE = POOL_CONNECTIONS
AMOUNT, FEE = 450_000, 11_250
MONTH = 30 * 86_400
PARTIES = {"sasha": uuid4(), "blair": uuid4()}
_BARE = "INSERT INTO bare (id, account, amount) VALUES ($1, $2, $3)"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def executed() -> ContractExecuted:
    """A contract about a new game, always between the same two."""
    now = datetime.now(UTC)
    seller, buyer = (
        PartyCard(
            user_id=user_id,
            name=name,
            roblox_id="2001",
            roblox_name=name,
            kyc_tier=KycTier.TIER_1,
        )
        for name, user_id in PARTIES.items()
    )
    offer_id, listing_id = new_id(), new_id()
    deal = Deal(
        listing_id=listing_id,
        offer_id=offer_id,
        amount=AMOUNT,
        currency=Currency.USD,
        terms=TradeTerms(
            fee_basis_points=250,
            fee=FEE,
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
            game_id="9001",
            game_name="Skyline Tycoon",
            creator_id="2001",
            creator_type="User",
            taken_at=now,
        ),
        accepted_at=now,
    )
    return ContractExecuted(
        version=3,
        contract_id=new_id(),
        offer_id=offer_id,
        root_offer_id=offer_id,
        listing_id=listing_id,
        seller_id=seller.user_id,
        buyer_id=buyer.user_id,
        deal=deal,
        document_sha256="a" * 64,
        sealed=SealedDocument(bucket="contracts", key="k", version_id="v", sha256="b" * 64),
        executed_at=now,
    )


async def per_second(
    works: list[Callable[[], Awaitable[None]]], side_by_side: int = SIDE_BY_SIDE
) -> float:
    waiting = iter(works)

    async def work_off() -> None:
        for work in waiting:
            await work()

    started = time.perf_counter()
    await asyncio.gather(*(work_off() for _ in range(side_by_side)))
    return len(works) / (time.perf_counter() - started)


async def bare_turn(connection: asyncpg.Connection) -> float:
    async def insert() -> None:
        async with connection.transaction():
            for account, amount in (("held", -AMOUNT), ("balance", AMOUNT - FEE), ("fees", FEE)):
                await connection.execute(_BARE, new_id(), account, amount)

    return await per_second([insert] * BARE, side_by_side=1)


async def posting_turn(sessions: Sessions, escrow_id: UUID) -> float:
    async with sessions() as session:
        escrow = await repository.escrow(session, escrow_id)

    async def release() -> None:
        async with sessions.begin() as session:
            await post(
                session,
                escrow,
                Cause.RELEASED,
                postings.released(AMOUNT, FEE),
                currency="USD",
                reference=str(new_id()),
            )

    return await per_second([release] * POSTINGS)


async def held_escrows(sessions: Sessions, owner_dsn: str, count: int) -> list[UUID]:
    """Ids of so many escrows that hold their money."""
    for _ in range(count):
        async with sessions.begin() as session:
            await opening.open_escrow(session, executed())
    owner = await asyncpg.connect(owner_dsn)
    rows = await owner.fetch(
        "UPDATE escrows SET status = 'FUNDS_HELD', funded_at = clock()"
        " WHERE status = 'AWAIT_FUNDS' RETURNING id"
    )
    await owner.close()
    return [row["id"] for row in rows]


async def post_to(app: ASGIApp, path: str, headers: dict[str, str], body: dict[str, str]) -> None:
    """Have one POST answered with 200."""
    content = json.dumps(body).encode()
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    parts: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        parts.append(message)

    await app(scope, receive, send)
    assert parts[0]["status"] == 200, parts


async def command_turn(app: ASGIApp, issuer: TestIssuer, escrow_ids: list[UUID]) -> float:
    token = issuer.authorization(PARTIES["sasha"])

    def delivery(escrow_id: UUID) -> Callable[[], Awaitable[None]]:
        headers = {**token, "Idempotency-Key": str(uuid4())}

        async def deliver() -> None:
            await post_to(
                app,
                f"/v1/escrows/{escrow_id}/deliver",
                headers,
                {"title": "The game", "description": "It is in your group now."},
            )

        return deliver

    return await per_second([delivery(escrow_id) for escrow_id in escrow_ids])


async def measure(stack: Stack) -> str:
    settings, issuer = Settings(), TestIssuer()
    engine = create_engine(settings)
    sessions = Sessions(engine)
    owner_dsn = stack.owner_dsn("escrow")
    bare = await asyncpg.connect(owner_dsn)
    await bare.execute("CREATE TABLE bare (id uuid PRIMARY KEY, account text, amount bigint)")
    app = create_app(settings, sessions, issuer.key_source())
    process.settle()
    turns = []
    for turn in range(TURNS + 1):
        escrow_ids = await held_escrows(sessions, owner_dsn, COMMANDS)
        turns.append(
            (
                await bare_turn(bare),
                await posting_turn(sessions, escrow_ids[0]),
                await command_turn(app, issuer, escrow_ids),
            )
        )
        name = f"turn {turn}/{TURNS}" if turn else "warm-up"
        say("{}: bare {:,.0f}/s, postings {:,.0f}/s, commands {:,.0f}/s".format(name, *turns[-1]))
    await bare.close()
    await engine.dispose()
    raw, posted, answered = (statistics.median(one) for one in zip(*turns[1:], strict=True))
    return f"postings_ratio={posted / raw:.2f} command_ratio={answered / raw:.2f}"


def main() -> None:
    with Stack.started() as stack:
        say("starting PostgreSQL …")
        stack.start("migrations")
        values = {
            "ENVIRONMENT": "test",
            "DATABASE_URL": stack.app_dsn("escrow"),
            "PUBLIC_URL": "http://127.0.0.1",
            "JWKS_URL": "http://127.0.0.1:1/jwks.json",
            "OPS_PORT": "0",
            "JWT_ISSUER": TestIssuer().issuer,
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "KAFKA_USERNAME": "escrow",
            "KAFKA_USE_SSL": "false",
            "S3_ENDPOINT_URL": "http://127.0.0.1:1",
            "S3_ACCESS_KEY": "bench",
            "S3_SECRET_KEY": "bench",
            "STRIPE_API_KEY": "sk_test_bench",
            "STRIPE_API_URL": "http://127.0.0.1:1",
            "STRIPE_WEBHOOK_SECRETS": "whsec_bench",
        }
        # As in production, but for the lines themselves.
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            cache_logger_on_first_use=True,
        )
        os.environ.update({f"ESCROW_{name}": value for name, value in values.items()})
        print(uvloop.run(measure(stack)))


if __name__ == "__main__":
    main()
