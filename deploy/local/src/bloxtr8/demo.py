"""One whole trade through the gateway: from sign-in to payout, checked as it goes."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from pypdf import PdfReader
from rich.console import Console
from rich.table import Table

from bloxtr8.trader import Trader, until

PRICE, FIRST_OFFER, AGREED = 500_000, 400_000, 450_000
"""Cents: asked, offered, and agreed after one counter-offer."""


class DemoFailed(Exception):
    """Something the trade promises did not hold."""


@dataclass
class Report:
    """What a trade left behind: steps with seconds, ids, ledger, document."""

    steps: list[tuple[str, float]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, int] = field(default_factory=dict)
    sealed_sha256: str = ""
    document: str = ""
    pages: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "steps": [{"name": name, "seconds": round(took, 3)} for name, took in self.steps],
            "seconds": round(sum(took for _, took in self.steps), 3),
            "ids": self.ids,
            "ledger": self.ledger,
            "ledger_sums": self.sums,
            "sealed_sha256": self.sealed_sha256,
            "document": self.document,
            "pages": self.pages,
        }


class Demo:
    """Carries one trade of $4,500.00; `console` shows each step while it runs."""

    def __init__(
        self, gateway_url: str, simulators_url: str, documents: Path, console: Console
    ) -> None:
        self._gateway = gateway_url
        self._simulators = simulators_url
        self._documents = documents
        self._console = console
        self._report = Report()

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        with self._console.status(f"{name} …"):
            yield
        took = time.monotonic() - began
        self._report.steps.append((name, took))
        self._console.print(f"  [green]✓[/] {name} [dim]{took:.2f} s[/]")

    async def run(self) -> Report:
        """The whole trade.

        Raises:
            Refused: a service refused a step. TimeoutError: a step did not finish.
            DemoFailed: money or document are not as promised.
        """
        async with AsyncExitStack() as people:
            seller = await people.enter_async_context(
                Trader(self._gateway, "sasha", "sasha_builds")
            )
            buyer = await people.enter_async_context(Trader(self._gateway, "blair", "blair_plays"))
            game_id = await self._prepare_game()
            await self._meet(seller, buyer)
            offer = await self._negotiate(seller, buyer, game_id)
            contract = await self._agree(seller, buyer, offer)
            await self._settle(seller, buyer, contract, game_id)
            await self._keep_document(buyer, contract["id"])
        return self._report

    async def _prepare_game(self) -> str:
        """A game of the seller's own for this run, so that a demo can be repeated."""
        async with httpx.AsyncClient(base_url=self._simulators) as world:
            made = await world.post(
                "/roblox/_sim/universes",
                json={"name": "Skyline Tycoon", "creator_type": "User", "creator_id": 2001},
            )
        made.raise_for_status()
        return str(made.json()["id"])

    async def _meet(self, seller: Trader, buyer: Trader) -> None:
        with self._step("Both sign in with Discord and link Roblox"):
            for person in (seller, buyer):
                await person.sign_in()
                if not person.user.get("roblox_id"):
                    await person.link_roblox()
        self._report.ids |= {"seller": seller.id, "buyer": buyer.id}

    async def _negotiate(self, seller: Trader, buyer: Trader, game_id: str) -> dict[str, Any]:
        with self._step("The seller proves to own the game"):
            verdict = await seller.verify_game(game_id)
            if verdict["verification_status"] != "VERIFIED":
                raise DemoFailed(f"The game was not verified: {verdict}")
        with self._step("The seller lists it for $5,000.00"):
            listing = await seller.call(
                "POST",
                "/v1/listings",
                {
                    "title": "Skyline Tycoon",
                    "summary": "City builder with 1,200 daily players. Sold with all places.",
                    "category": "simulation",
                    "price": PRICE,
                    "game_id": game_id,
                },
            )
        with self._step("The buyer offers $4,000.00"):
            offer = await buyer.call(
                "POST",
                f"/v1/listings/{listing['id']}/offers",
                {"amount": FIRST_OFFER, "currency": "USD", "conditions": "All places included."},
            )
        with self._step("The seller counters with $4,500.00"):
            counter = await seller.call(
                "POST",
                f"/v1/offers/{offer['id']}/counter",
                {"amount": AGREED, "currency": "USD", "conditions": "All places included."},
            )
        with self._step("The buyer accepts"):
            accepted: dict[str, Any] = await buyer.call(
                "POST", f"/v1/offers/{counter['id']}/accept"
            )
        self._report.ids |= {"listing": listing["id"], "offer": accepted["id"]}
        return dict(accepted)

    async def _agree(self, seller: Trader, buyer: Trader, offer: dict[str, Any]) -> dict[str, Any]:
        with self._step("The contract is drawn up"):
            contract = await buyer.only(f"/v1/contracts?offer_id={offer['id']}", "the contract")
        self._report.ids["contract"] = contract["id"]
        with self._step("Both sign it"):
            await seller.sign(contract)
            await buyer.sign(contract)
        with self._step("The signed contract is executed and sealed"):
            return await buyer.state(f"/v1/contracts/{contract['id']}", "EXECUTED", "contract")

    async def _settle(
        self, seller: Trader, buyer: Trader, contract: dict[str, Any], game_id: str
    ) -> None:
        with self._step("The escrow opens"):
            escrow = await buyer.only(f"/v1/escrows?contract_id={contract['id']}", "the escrow")
        path = f"/v1/escrows/{escrow['id']}"
        self._report.ids["escrow"] = escrow["id"]
        with self._step("The seller can be paid"):
            await seller.become_payable()
        with self._step("The buyer pays $4,500.00 by card"):
            await buyer.pay(escrow["id"], f"{self._simulators}/stripe")
        with self._step("The money is held"):
            await buyer.state(path, "FUNDS_HELD", "escrow")
        with self._step("The seller hands the game over"):
            await self._hand_over(game_id)
            await seller.call(
                "POST", f"{path}/deliver", {"title": "Game transferred", "description": "To group."}
            )
        with self._step("The buyer confirms"):
            await buyer.call("POST", f"{path}/confirm")
        with self._step("The seller is paid $4,387.50"):
            await seller.state(path, "RELEASED", "escrow")
        with self._step("The listing is sold"):
            await seller.state(f"/v1/listings/{self._report.ids['listing']}", "SOLD", "listing")
        self._check_ledger(await seller.call("GET", f"{path}/ledger"))

    async def _hand_over(self, game_id: str) -> None:
        async with httpx.AsyncClient(base_url=self._simulators) as world:
            moved = await world.post(
                f"/roblox/_sim/universes/{game_id}/transfer",
                json={"creator_type": "Group", "creator_id": 5002},
            )
        moved.raise_for_status()

    def _check_ledger(self, ledger: dict[str, Any]) -> None:
        for entry in ledger["entries"]:
            self._report.ledger.append(entry)
            currency = entry["currency"]
            self._report.sums[currency] = self._report.sums.get(currency, 0) + entry["amount"]
        if not self._report.ledger or any(self._report.sums.values()):
            raise DemoFailed(f"The ledger does not sum to zero: {self._report.sums}")

    async def _keep_document(self, reader: Trader, contract_id: str) -> None:
        with self._step("The sealed contract is downloaded and checked"):
            link = await until(
                lambda: reader.call("GET", f"/v1/contracts/{contract_id}/document"),
                lambda answer: "url" in answer,
                "the sealed contract",
            )
            document = await reader.download(link["url"])
            sealed = hashlib.sha256(document).hexdigest()
            if sealed != link["sha256"]:
                raise DemoFailed(f"The document's hash is {sealed}, expected {link['sha256']}.")
            self._documents.mkdir(parents=True, exist_ok=True)
            kept = self._documents / f"contract-{contract_id}.pdf"
            kept.write_bytes(document)
            self._report.sealed_sha256 = sealed
            self._report.document = str(kept)
            self._report.pages = len(PdfReader(BytesIO(document)).pages)


def show(report: Report, console: Console) -> None:
    """The report for people."""
    steps = Table("step", "seconds", title="One trade of $4,500.00")
    for name, took in report.steps:
        steps.add_row(name, f"{took:.2f}")
    steps.add_section()
    steps.add_row("total", f"{sum(took for _, took in report.steps):.2f}")
    ledger = Table("account", "cents", "currency", "cause", title="Ledger (sums to zero)")
    for entry in report.ledger:
        ledger.add_row(entry["account"], f"{entry['amount']:,}", entry["currency"], entry["cause"])
    ids = Table("what", "id", title="Ids")
    for what, value in report.ids.items():
        ids.add_row(what, value)
    for table in (steps, ledger, ids):
        console.print(table)
    console.print(f"Sealed contract: {report.document} ({report.pages} pages)", soft_wrap=True)
    console.print(f"SHA-256: {report.sealed_sha256}", soft_wrap=True)
