"""One signature per person, over the document that was read, and one end to every race."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from services.contracts.tests.conftest import Office, make_deal, told
from sqlalchemy.exc import DBAPIError

from contracts import repository, use_cases
from contracts.errors import (
    AlreadySigned,
    ContractNotFound,
    DocumentDiffers,
    LinkNotUsable,
    MayNotSign,
    SignerNotYetKnown,
    SigningTimeOver,
)
from contracts.lifecycle import ContractStatus, VoidReason
from contracts.models import Contract
from shared.events.cards import KycTier
from shared.lifecycle import IllegalMove
from shared.testing import Clock, Database

S = ContractStatus
ROUNDS = 50


async def signatures(office: Office, contract: Contract) -> list[dict[str, object]]:
    return await office.database.rows(
        "SELECT user_id, document_sha256, signature_method FROM signatures"
        " WHERE contract_id = $1 ORDER BY signed_at",
        contract.id,
    )


async def contracts_to_sign(office: Office, count: int) -> Sequence[Contract]:
    return await office.copies(await office.draw_up(make_deal()), count)


async def test_both_sign_at_once_and_the_contract_is_complete_once(office: Office) -> None:
    for contract in await contracts_to_sign(office, ROUNDS):
        await asyncio.gather(
            office.sign(contract, contract.seller_id), office.sign(contract, contract.buyer_id)
        )
        await asyncio.gather(*(office.begin_execution(contract) for _ in range(2)))
    outcome = await office.database.rows(
        "SELECT count(*) AS contracts, status, version,"
        " (SELECT count(*) FROM signatures s WHERE s.contract_id = c.id) AS signatures,"
        " (SELECT count(*) FROM contract_execution_jobs j WHERE j.contract_id = c.id) AS jobs,"
        " (SELECT count(*) FROM outbox o WHERE o.aggregate_id = c.id::text"
        "   AND o.topic = 'contract.signed') AS events"
        " FROM contracts c GROUP BY 2, 3, 4, 5, 6 ORDER BY 1"
    )
    assert [tuple(row.values()) for row in outcome] == [
        (1, "PENDING_SIGNATURE", 1, 0, 0, 0),
        (ROUNDS, "EXECUTING", 3, 2, 1, 1),
    ]


async def test_signing_and_the_end_of_the_time_to_sign_have_one_winner(
    office: Office, clock: Clock
) -> None:
    ends = set()
    for number, contract in enumerate(await contracts_to_sign(office, 20)):
        await office.database.rows(
            "INSERT INTO deadlines (aggregate_id, kind, due_at) VALUES ($1, 'sign_by', $2)",
            contract.id,
            contract.sign_by,
        )
        await office.sign(contract, contract.seller_id)
        ahead = contract.sign_by - contract.created_at
        late = timedelta(milliseconds=1 if number % 2 else -15)
        await clock.advance(ahead + late)
        results = await asyncio.gather(
            office.sign(contract, contract.buyer_id), office.tick(), return_exceptions=True
        )
        ended = await office.read(contract.id)
        count = len(await signatures(office, contract))
        if ended.status is S.EXECUTING:
            assert (results[0], count, ended.void_reason) == (None, 2, None)
            assert await office.events("contract.voided", contract.id) == []
        else:
            assert isinstance(results[0], IllegalMove | SigningTimeOver)
            await office.tick()
            ended = await office.read(contract.id)
            assert (ended.status, ended.void_reason, count) == (S.VOID, VoidReason.UNSIGNED, 1)
            assert await office.events("contract.signed", contract.id) == []
            assert len(await office.events("contract.voided", contract.id)) == 1
        ends.add(ended.status)
        await clock.restore()
    assert S.VOID in ends


async def test_a_signature_needs_the_hash_of_the_document(office: Office) -> None:
    contract = await office.draw_up(make_deal())
    async with office.database.sessions() as session:
        with pytest.raises(DocumentDiffers):
            await use_cases.sign(session, contract.id, contract.seller_id, "0" * 64)
    assert await signatures(office, contract) == []
    assert (await office.read(contract.id)).version == 1


async def test_nobody_signs_twice_or_for_others(office: Office) -> None:
    contract = await office.draw_up(make_deal())
    sha256 = str(contract.sha256)
    await office.sign(contract, contract.seller_id)
    async with office.database.sessions() as session:
        with pytest.raises(AlreadySigned):
            await use_cases.sign(session, contract.id, contract.seller_id, sha256)
    async with office.database.sessions() as session:
        with pytest.raises(ContractNotFound):
            await use_cases.sign(session, contract.id, uuid4(), sha256)
    assert len(await signatures(office, contract)) == 1


async def test_who_is_frozen_unlinked_or_unknown_does_not_sign(office: Office) -> None:
    deal = make_deal()
    contract = await office.draw_up(deal)
    sha256 = str(contract.sha256)
    refused: tuple[dict[str, Any], ...] = ({"is_frozen": True}, {"kyc_tier": KycTier.TIER_0})
    for version, changes in enumerate(refused, 2):
        async with office.database.sessions.begin() as session:
            await repository.keep_user(session, told(deal.seller, version=version, **changes))
        async with office.database.sessions() as session:
            with pytest.raises(MayNotSign):
                await use_cases.sign(session, contract.id, contract.seller_id, sha256)
    await office.database.rows("DELETE FROM users WHERE id = $1", contract.seller_id)
    async with office.database.sessions() as session:
        with pytest.raises(SignerNotYetKnown):
            await use_cases.sign(session, contract.id, contract.seller_id, sha256)
    assert await signatures(office, contract) == []


async def test_an_older_word_about_a_user_changes_nothing(office: Office) -> None:
    deal = make_deal()
    async with office.database.sessions.begin() as session:
        await repository.keep_user(session, told(deal.seller, version=5, is_frozen=True))
        await repository.keep_user(session, told(deal.seller, version=4))
        await repository.keep_user(session, told(deal.seller, version=5))
    row = await office.database.one("SELECT version, is_frozen FROM users")
    assert (row["version"], row["is_frozen"]) == (5, True)


async def test_after_the_end_of_a_contract_nobody_signs(office: Office, clock: Clock) -> None:
    contract = await office.draw_up(make_deal())
    async with office.database.sessions.begin() as session:
        await use_cases.decline(session, contract.id, contract.buyer_id, "Changed my mind.")
    async with office.database.sessions() as session:
        with pytest.raises(IllegalMove, match="is VOID"):
            await use_cases.sign(session, contract.id, contract.seller_id, str(contract.sha256))
    ended = await office.read(contract.id)
    assert (ended.status, ended.void_reason) == (S.VOID, VoidReason.DECLINED)
    await clock.advance(timedelta(hours=80))
    assert await office.tick() == 0


async def test_links_end_when_used_replaced_or_old(office: Office, clock: Clock) -> None:
    contract = await office.draw_up(make_deal())

    async def link() -> str:
        async with office.database.sessions.begin() as session:
            secret, _ = await use_cases.make_link(session, contract.id, contract.seller_id)
        return secret

    async def use(secret: str, sha256: str = str(contract.sha256)) -> None:
        async with office.database.sessions.begin() as session:
            await use_cases.sign_by_link(session, secret, sha256)

    replaced, old = await link(), await link()
    with pytest.raises(LinkNotUsable):
        await use(replaced)
    kept = await office.database.rows("SELECT token_sha256 FROM contract_sign_tokens")
    assert len(kept) == 1
    assert old not in str(kept)
    await clock.advance(timedelta(minutes=15, seconds=1))
    with pytest.raises(LinkNotUsable):
        await use(old)
    await clock.restore()
    with pytest.raises(DocumentDiffers):
        await use(old, "0" * 64)
    await use(old)  # what was refused did not use it up
    with pytest.raises(LinkNotUsable):
        await use(old)
    [signature] = await signatures(office, contract)
    assert (signature["user_id"], signature["signature_method"]) == (
        contract.seller_id,
        "WEB_BASED",
    )


async def test_links_that_are_long_past_are_removed_when_another_is_made(
    office: Office, clock: Clock
) -> None:
    used, old, new = await contracts_to_sign(office, 3)

    async def link(contract: Contract) -> str:
        async with office.database.sessions.begin() as session:
            secret, _ = await use_cases.make_link(session, contract.id, contract.seller_id)
        return secret

    async with office.database.sessions.begin() as session:
        await use_cases.sign_by_link(session, await link(used), str(used.sha256))
    await link(old)
    await clock.advance(timedelta(days=1, minutes=16))
    await link(new)
    kept = await office.database.rows("SELECT contract_id FROM contract_sign_tokens")
    assert [row["contract_id"] for row in kept] == [new.id]


async def test_whoever_has_not_signed_is_reminded_and_then_it_is_void(
    office: Office, clock: Clock
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract, contract.seller_id)
    for hours, due in ((23, 0), (24, 1), (48, 1), (72, 1), (100, 0)):
        await clock.advance(timedelta(hours=hours, seconds=5))
        assert await office.tick() == due
    reminders = await office.events("contract.signature_due", contract.id)
    assert [reminder["missing_user_ids"] for reminder in reminders] == [
        [str(contract.buyer_id)],
        [str(contract.buyer_id)],
    ]
    ended = await office.read(contract.id)
    assert (ended.status, ended.void_reason) == (S.VOID, VoidReason.UNSIGNED)
    assert len(await office.events("contract.voided", contract.id)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE signatures SET signed_at = clock()",
        "DELETE FROM signatures",
        "UPDATE audit_logs SET action = 'x'",
        "DELETE FROM audit_logs",
        "UPDATE contracts SET sha256 = repeat('0', 64)",
        "UPDATE contracts SET deal = '{}'",
        "UPDATE contract_templates SET terms = '{}'",
    ],
)
async def test_what_was_said_is_never_changed_by_anybody(
    office: Office, server: Database, change: str
) -> None:
    contract = await office.draw_up(make_deal())
    await office.sign(contract, contract.seller_id)
    for dsn in (server.app_dsn, server.owner_dsn):
        connection = await asyncpg.connect(dsn)
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError)):
            await connection.execute(change)
        await connection.close()


async def test_a_signature_over_another_hash_is_refused_by_the_database(office: Office) -> None:
    contract = await office.draw_up(make_deal())
    with pytest.raises((DBAPIError, asyncpg.ForeignKeyViolationError)):
        await office.database.rows(
            "INSERT INTO signatures (id, user_id, contract_id, document_sha256, consent_version,"
            " signature_method) VALUES ($1, $2, $3, $4, '1.0.0', 'API')",
            uuid4(),
            contract.seller_id,
            contract.id,
            "0" * 64,
        )
