"""What escrow hears: contracts to open for, and who owns a game and may act."""

from faststream.kafka import KafkaBroker

from escrow.use_cases import opening, silence
from shared.events.contracts import ContractExecuted
from shared.events.identity import (
    AssetTransferObserved,
    AssetVerificationFailed,
    AssetVerified,
    UserUpdated,
)
from shared.kafka import current_session, facts, is_a
from shared.settings import ServiceSettings


def subscribe(broker: KafkaBroker, settings: ServiceSettings) -> None:
    heard = facts(
        broker,
        settings,
        ContractExecuted,
        AssetVerified,
        AssetVerificationFailed,
        AssetTransferObserved,
        UserUpdated,
    )

    @heard(filter=is_a(ContractExecuted))
    async def open_when_executed(event: ContractExecuted) -> None:
        await opening.open_escrow(current_session(), event)

    @heard(filter=is_a(AssetVerified))
    async def note_when_verified(event: AssetVerified) -> None:
        await opening.note_ownership(current_session(), event)

    @heard(filter=is_a(AssetVerificationFailed))
    async def note_when_verification_failed(event: AssetVerificationFailed) -> None:
        await opening.note_ownership(current_session(), event)

    @heard(filter=is_a(UserUpdated))
    async def note_when_user_updated(event: UserUpdated) -> None:
        await opening.note_user(current_session(), event)

    @heard(filter=is_a(AssetTransferObserved))
    async def note_when_transfer_observed(event: AssetTransferObserved) -> None:
        await silence.note_transfer(current_session(), event)
