"""Events: one trade shares a key and a correlation id; headers are CloudEvents."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from pydantic import ValidationError

from shared.events import ALL_EVENTS, Envelope
from shared.events.cards import GameOwnershipType, VerificationMethod
from shared.events.contracts import ContractVoided
from shared.events.identity import AssetVerificationFailed

IDS = [UUID(int=n) for n in range(1, 8)]
VOIDED = ContractVoided(
    version=3,
    contract_id=IDS[0],
    offer_id=IDS[1],
    root_offer_id=IDS[2],
    listing_id=IDS[3],
    seller_id=IDS[4],
    buyer_id=IDS[5],
    reason="UNSIGNED",
)
ENVELOPE = Envelope(
    event_id=IDS[6],
    type="contract.voided",
    source="contracts",
    subject=str(IDS[0]),
    time=datetime(2026, 11, 23, 12, tzinfo=UTC),
    sequence=4,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    correlation_id=str(IDS[2]),
)


def test_everything_of_a_trade_has_the_root_offer_as_key_and_correlation() -> None:
    assert VOIDED.aggregate_id == str(IDS[0])
    assert VOIDED.key == VOIDED.correlation_id == str(IDS[2])


def test_a_fact_outside_of_a_trade_has_its_own_key() -> None:
    event = AssetVerificationFailed(
        version=1,
        verification_id=IDS[1],
        user_id=IDS[0],
        game_id="9001",
        ownership_type=GameOwnershipType.OWNER,
        method=VerificationMethod.GAME_OWNERSHIP_API,
        checked_at=ENVELOPE.time,
        reason="Another user created this game.",
    )
    assert event.key == f"{IDS[0]}:9001"
    assert event.correlation_id is None


def test_headers_are_read_back_as_they_were_written() -> None:
    assert Envelope.from_headers(ENVELOPE.headers()) == ENVELOPE


def test_another_implementation_reads_our_headers_as_a_cloud_event() -> None:
    headers = {name: value.encode() for name, value in ENVELOPE.headers().items()}
    event = from_binary_event(
        KafkaMessage(headers=headers, key=None, value=VOIDED.model_dump_json().encode())
    )
    assert event.get_type() == "contract.voided"
    assert event.get_source() == "/contracts"
    assert event.get_subject() == str(IDS[0])
    assert event.get_time() == ENVELOPE.time
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["reason"] == "UNSIGNED"


def test_headers_without_an_id_are_unreadable() -> None:
    headers = ENVELOPE.headers()
    del headers["ce_id"]
    with pytest.raises(ValidationError):
        Envelope.from_headers(headers)


def test_a_reader_ignores_a_field_it_does_not_know() -> None:
    newer = VOIDED.model_dump(mode="json") | {"mood": "sad"}
    assert ContractVoided.model_validate(newer) == VOIDED


def test_every_event_names_an_aggregate_and_key_that_it_has() -> None:
    for event in ALL_EVENTS.values():
        assert {event.aggregate_field, *event.key_fields} <= set(event.model_fields)
