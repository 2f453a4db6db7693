"""One whole trade through the gateway, shown while it runs and reported at the end."""

import asyncio
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from pypdf import PdfReader
from rich.console import Console
from rich.table import Table

from bloxtr8.trade import Broken, Trade
from bloxtr8.trader import Refused, Trader

FAILURES = (Refused, Broken, TimeoutError, httpx.HTTPError)
"""What stops a trade: a refusal, a broken promise, a step that never ends, no answer."""


async def run(
    gateway_url: str, simulators_url: str, documents: Path, console: Console
) -> dict[str, Any]:
    """Carry the trade and return its report: steps with seconds, ids, ledger (cents), document.

    The sealed contract is kept in the folder `documents`, which exists.

    Raises:
        Refused: a service refused a step. TimeoutError: a step did not finish.
        Broken: money or document are not as promised.
    """
    async with (
        Trader(gateway_url, "sasha", "sasha_builds") as seller,
        Trader(gateway_url, "blair", "blair_plays") as buyer,
    ):
        trade = Trade(seller, buyer, simulators_url)
        taken: list[tuple[str, float]] = []
        for name, step in (*trade.agreement, *trade.execution, *trade.settlement):
            began = time.monotonic()
            with console.status(f"{name} …"):
                await step()
            taken.append((name, round(time.monotonic() - began, 3)))
            console.print(f"  [green]✓[/] {name} [dim]{taken[-1][1]:.2f} s[/]")
        kept = documents / f"contract-{trade.contract['id']}.pdf"
        await asyncio.to_thread(kept.write_bytes, trade.document)
        return {
            "steps": [{"name": name, "seconds": seconds} for name, seconds in taken],
            "seconds": round(sum(seconds for _, seconds in taken), 3),
            "ids": {
                "seller": seller.id,
                "buyer": buyer.id,
                "listing": trade.listing["id"],
                "offer": trade.offer["id"],
                "contract": trade.contract["id"],
                "escrow": trade.escrow["id"],
            },
            "ledger": trade.ledger,
            "ledger_sums": trade.ledger_sums(),
            "sealed_sha256": trade.document_sha256,
            "document": str(kept),
            "pages": len(PdfReader(BytesIO(trade.document)).pages),
        }


def show(report: dict[str, Any], console: Console) -> None:
    """The report for people."""
    steps = Table("step", "seconds", title="One trade of $4,500.00")
    for step in report["steps"]:
        steps.add_row(step["name"], f"{step['seconds']:.2f}")
    steps.add_section()
    steps.add_row("total", f"{report['seconds']:.2f}")
    ledger = Table("account", "cents", "currency", "cause", title="Ledger")
    for entry in report["ledger"]:
        ledger.add_row(entry["account"], f"{entry['amount']:,}", entry["currency"], entry["cause"])
    ledger.add_section()
    for currency, total in report["ledger_sums"].items():
        ledger.add_row("sum", f"{total:,}", currency, "")
    ids = Table("what", "id", title="Ids")
    for what, value in report["ids"].items():
        ids.add_row(what, value)
    for table in (steps, ledger, ids):
        console.print(table)
    console.print(
        f"Sealed contract: {report['document']} ({report['pages']} pages)", soft_wrap=True
    )
    console.print(f"SHA-256: {report['sealed_sha256']}", soft_wrap=True)
