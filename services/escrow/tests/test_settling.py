"""From the handover to money that has reached one side, once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Desk, Trade


async def test_a_trade_is_paid_out_to_the_cent(desk: "Desk", trade: "Trade") -> None:
    escrow_id = await desk.delivered(trade)
    await desk.make_payable(trade.seller_id)

    answer = await desk.confirm(trade, escrow_id)

    assert (answer.status_code, answer.json()["settling"]) == (200, "RELEASE")
    assert await desk.status(escrow_id) == "DELIVERED"
    await desk.work()
    assert await desk.status(escrow_id) == "RELEASED"
    transfer = await desk.provider.only("transfer")
    assert (transfer["amount"], transfer["currency"]) == (438_750, "usd")
    assert transfer["transfer_group"] == str(escrow_id)
    assert await desk.postings(escrow_id) == [
        ("funded", "stripe:balance", -450_000, "USD"),
        ("funded", "escrow:held", 450_000, "USD"),
        ("provider_fee", "platform:provider_fees", -13_080, "USD"),
        ("provider_fee", "stripe:balance", 13_080, "USD"),
        ("released", "escrow:held", -450_000, "USD"),
        ("released", "stripe:balance", 438_750, "USD"),
        ("released", "platform:fees", 11_250, "USD"),
    ]
    [_, _, _, released] = await desk.told(escrow_id)
    assert released["topic"] == "escrow.released"
    assert released["paid_to_seller"] == 438_750
    assert released["fee"] == 11_250
    assert released["references"] == [transfer["id"]]
