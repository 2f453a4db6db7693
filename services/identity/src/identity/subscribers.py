"""What identity hears: trades that make it look at who has a game."""

from faststream.kafka import KafkaBroker

from identity import use_cases, watching
from shared.events.escrow import (
    EscrowCancelled,
    EscrowCreated,
    EscrowFunded,
    EscrowRefunded,
    EscrowReleased,
)
from shared.kafka import current_session, facts, is_a
from shared.settings import ServiceSettings


def subscribe(broker: KafkaBroker, settings: ServiceSettings) -> None:
    heard = facts(
        broker,
        settings,
        EscrowCreated,
        EscrowFunded,
        EscrowReleased,
        EscrowRefunded,
        EscrowCancelled,
    )

    @heard(filter=is_a(EscrowCreated))
    async def check_owner_when_created(event: EscrowCreated) -> None:
        await use_cases.ask_again(current_session(), event.seller_id, event.game_id)

    @heard(filter=is_a(EscrowFunded))
    async def watch_when_funded(event: EscrowFunded) -> None:
        await watching.begin(current_session(), event)

    @heard(filter=is_a(EscrowReleased))
    async def check_owner_when_released(event: EscrowReleased) -> None:
        await watching.end(current_session(), event.escrow_id)
        await use_cases.ask_again(current_session(), event.seller_id, event.game_id)

    @heard(filter=is_a(EscrowRefunded))
    async def check_owner_when_refunded(event: EscrowRefunded) -> None:
        await watching.end(current_session(), event.escrow_id)
        await use_cases.ask_again(current_session(), event.seller_id, event.game_id)

    @heard(filter=is_a(EscrowCancelled))
    async def check_owner_when_cancelled(event: EscrowCancelled) -> None:
        await use_cases.ask_again(current_session(), event.seller_id, event.game_id)
