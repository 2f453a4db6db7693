"""Facts reach the function that is there for them, and each once."""

from faststream.kafka import TestKafkaBroker
from services.contracts.tests.conftest import Office, accepted, make_deal, told

from contracts.settings import Settings
from contracts.subscribers import subscribe
from shared import kafka
from shared.events import Event
from shared.events.contracts import ContractSigned
from shared.testing import headers_of


async def test_each_fact_takes_effect_once(office: Office, settings: Settings) -> None:
    broker = kafka.create_broker(settings, office.database.sessions)
    subscribe(broker, settings)
    kafka.assert_safe(broker)
    deal = make_deal()
    async with TestKafkaBroker(broker) as local:

        async def deliver(event: Event, times: int) -> None:
            headers = headers_of(event)
            for _ in range(times):
                await local.publish(
                    event.model_dump_json().encode(),
                    event.topic,
                    headers=headers,
                )

        for card in (deal.seller, deal.buyer):
            await deliver(told(card), 2)
        await deliver(accepted(deal), 3)
        await deliver(accepted(deal), 1)
        assert await office.run_creation()
        assert not await office.run_creation()
        contract = await office.contract(deal)
        await office.sign(contract)
        [said] = await office.events("contract.signed", contract.id)
        await deliver(ContractSigned.model_validate(said), 20)
        await deliver(ContractSigned.model_validate(said), 1)
    [job] = await office.database.rows("SELECT contract_id, headers FROM contract_execution_jobs")
    assert job["contract_id"] == contract.id
    assert str(deal.offer_id) in str(job["headers"])
    assert await office.run_execution()
    assert not await office.run_execution()
    assert len(await office.events("contract.executed", contract.id)) == 1
