"""Documents are made and sealed once, whatever happens in between."""

from services.contracts.tests.conftest import Office, make_deal


async def test_an_accepted_offer_becomes_a_contract_in_force(office: Office) -> None:
    contract = await office.execute(make_deal())
    assert contract.sealed_sha256
