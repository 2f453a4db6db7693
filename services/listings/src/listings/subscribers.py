"""What listings hears: who people are, what they own, and how trades end."""

from faststream.kafka import KafkaBroker

from listings.use_cases import deals, parties
from listings.use_cases.deals import End
from shared.events.contracts import ContractVoided
from shared.events.escrow import EscrowCancelled, EscrowRefunded, EscrowReleased
from shared.events.identity import AssetVerificationFailed, AssetVerified, UserUpdated
from shared.kafka import current_session, facts, is_a
from shared.settings import ServiceSettings


def subscribe(broker: KafkaBroker, settings: ServiceSettings) -> None:
    heard = facts(
        broker,
        settings,
        UserUpdated,
        AssetVerified,
        AssetVerificationFailed,
        ContractVoided,
        EscrowReleased,
        EscrowRefunded,
        EscrowCancelled,
    )

    @heard(filter=is_a(UserUpdated))
    async def remember_when_user_updated(event: UserUpdated) -> None:
        await parties.remember_user(current_session(), event)

    @heard(filter=is_a(AssetVerified))
    async def remember_when_verified(event: AssetVerified) -> None:
        await parties.remember_proof(current_session(), event)

    @heard(filter=is_a(AssetVerificationFailed))
    async def remember_when_verification_failed(event: AssetVerificationFailed) -> None:
        await parties.remember_failure(current_session(), event)

    @heard(filter=is_a(ContractVoided))
    async def free_when_voided(event: ContractVoided) -> None:
        await deals.close(current_session(), event.offer_id, End.FREED)

    @heard(filter=is_a(EscrowReleased))
    async def sell_when_released(event: EscrowReleased) -> None:
        await deals.close(current_session(), event.offer_id, End.SOLD)

    @heard(filter=is_a(EscrowRefunded))
    async def free_when_refunded(event: EscrowRefunded) -> None:
        await deals.close(current_session(), event.offer_id, End.FREED)

    @heard(filter=is_a(EscrowCancelled))
    async def free_when_cancelled(event: EscrowCancelled) -> None:
        await deals.close(current_session(), event.offer_id, End.FREED)
