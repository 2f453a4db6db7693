"""Facts that contracts listens to."""

from faststream.kafka import KafkaBroker

from contracts import repository, use_cases
from contracts.settings import Settings
from shared import kafka
from shared.events.contracts import ContractSigned
from shared.events.identity import UserUpdated
from shared.events.listings import OfferAccepted
from shared.kafka import current_session, is_a


def subscribe(broker: KafkaBroker, settings: Settings) -> None:
    """Add the one subscriber with a function per fact."""
    facts = kafka.facts(broker, settings, OfferAccepted, ContractSigned, UserUpdated)

    @facts(filter=is_a(OfferAccepted))
    async def begin_contract_when_accepted(event: OfferAccepted) -> None:
        await use_cases.begin(current_session(), event)

    @facts(filter=is_a(ContractSigned))
    async def begin_execution_when_signed(event: ContractSigned) -> None:
        await use_cases.begin_execution(current_session(), event.contract_id)

    @facts(filter=is_a(UserUpdated))
    async def keep_user_when_updated(event: UserUpdated) -> None:
        await repository.keep_user(current_session(), event)

    @facts
    async def ignore_other_facts() -> None:
        """New facts must not stop old consumers."""
