"""Facts that arrive in any order, more than once, lead to the same rows."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from faststream.kafka import TestKafkaBroker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from escrow.subscribers import subscribe
from shared.events import Event
from shared.events.cards import KycTier
from shared.events.identity import UserUpdated
from shared.kafka import assert_safe, create_broker
from shared.testing import headers_of

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def user(trade: "Trade", version: int) -> UserUpdated:
    return UserUpdated(
        version=version,
        user_id=trade.seller_id,
        name=f"name {version}",
        kyc_tier=KycTier.TIER_1,
        is_frozen=version == 2,
        roles=[],
        wallet_risk="UNKNOWN",
        effective_from=NOW,
    )


def facts(trade: "Trade") -> list[tuple[Event, dict[str, str]]]:
    """Everything escrow hears of one trade, each with the headers it travels under."""
    events: list[Event] = [
        trade.executed(),
        trade.verified(NOW, 1),
        trade.not_verified(NOW + timedelta(minutes=1), 2),
        trade.verified(NOW + timedelta(minutes=2), 3),
        user(trade, 1),
        user(trade, 2),
        user(trade, 3),
    ]
    return [(event, headers_of(event)) for event in events]


async def rows(desk: "Desk") -> dict[str, Any]:
    """What is there, without what differs from run to run."""
    return {
        "escrows": await desk.database.rows(
            "SELECT contract_id, status, amount, fee, rail, version FROM escrows"
        ),
        "intents": await desk.database.rows("SELECT kind, state, amount FROM intents"),
        "checks": await desk.database.rows("SELECT * FROM asset_verifications"),
        "users": await desk.database.rows("SELECT * FROM users"),
        "told": await desk.database.rows("SELECT topic FROM outbox"),
        "inbox": await desk.database.rows("SELECT count(*) FROM inbox"),
    }


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations([*range(7), *range(7)]))
async def test_any_order_with_duplicates_leads_to_the_same_rows(
    desk: "Desk", trade: "Trade", order: list[int]
) -> None:
    await desk.database.truncate()
    heard = facts(trade)
    kafka = desk.settings.model_copy(
        update={"kafka_bootstrap_servers": "127.0.0.1:9", "kafka_username": "escrow"}
    )
    broker = create_broker(kafka, desk.database.sessions)
    subscribe(broker, kafka)
    assert_safe(broker)
    async with TestKafkaBroker(broker) as channel:
        for place in order:
            event, carried = heard[place]
            await channel.publish(
                event.model_dump_json().encode(),
                event.topic,
                key=event.key.encode(),
                headers=carried,
            )
    assert await rows(desk) == {
        "escrows": [
            {
                "contract_id": trade.contract_id,
                "status": "AWAIT_FUNDS",
                "amount": 450_000,
                "fee": 11_250,
                "rail": "STRIPE",
                "version": 1,
            }
        ],
        "intents": [{"kind": "fund", "state": "CREATED", "amount": 450_000}],
        "checks": [
            {
                "user_id": trade.seller_id,
                "game_id": "9001",
                "is_owner": True,
                "checked_at": NOW + timedelta(minutes=2),
                "version": 3,
            }
        ],
        "users": [{"id": trade.seller_id, "name": "name 3", "is_frozen": False, "version": 3}],
        "told": [{"topic": "escrow.created"}],
        "inbox": [{"count": 7}],
    }
