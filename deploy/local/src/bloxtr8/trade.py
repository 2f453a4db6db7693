"""One trade of $4,500.00, step by step: what both sides do and what they then see."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from bloxtr8.trader import Trader, until

PRICE, FIRST_OFFER, AGREED = 500_000, 400_000, 450_000
"""Cents: asked, offered, and agreed after one counter-offer."""

Step = tuple[str, Callable[[], Awaitable[Any]]]


class Broken(Exception):
    """Something the product promises did not hold."""


class Trade:
    """Two people, one game; every method is one step and leaves what it made in a field."""

    def __init__(self, seller: Trader, buyer: Trader, simulators_url: str) -> None:
        self.seller = seller
        self.buyer = buyer
        self.simulators_url = simulators_url
        self.game_id = ""
        self.listing: dict[str, Any] = {}
        self.offer: dict[str, Any] = {}
        self.contract: dict[str, Any] = {}
        self.escrow: dict[str, Any] = {}
        self.ledger: list[dict[str, Any]] = []
        self.document = b""
        self.document_sha256 = ""

    @property
    def agreement(self) -> list[Step]:
        """The steps up to the accepted offer."""
        return [
            ("Both sign in with Discord and link Roblox", self.meet),
            ("The seller proves to own the game", self.verify),
            ("The seller lists it for $5,000.00", self.list_game),
            ("The buyer offers $4,000.00", self.make_offer),
            ("The seller counters with $4,500.00", self.counter),
            ("The buyer accepts", self.accept),
        ]

    @property
    def execution(self) -> list[Step]:
        """The steps from the accepted offer to the open escrow."""
        return [
            ("The contract is drawn up", self.draw_up),
            ("Both sign it", self.sign),
            ("The signed contract is executed and sealed", self.execute),
            ("The escrow opens", self.open_escrow),
        ]

    @property
    def settlement(self) -> list[Step]:
        """The steps from the open escrow to the payout."""
        return [
            ("The seller can be paid", self.seller.become_payable),
            ("The buyer pays $4,500.00 by card", self.pay),
            ("The money is held", self.hold),
            ("The seller hands the game over", self.deliver),
            ("The buyer confirms", self.confirm),
            ("The seller is paid $4,387.50", self.release),
            ("The listing is sold", self.sell),
            ("The ledger sums to zero", self.check_ledger),
            ("The sealed contract is downloaded and checked", self.keep_document),
        ]

    @property
    def escrow_path(self) -> str:
        return f"/v1/escrows/{self.escrow['id']}"

    async def go(self, *parts: list[Step]) -> None:
        """Take the steps of these parts in order."""
        for steps in parts:
            for _, step in steps:
                await step()

    async def meet(self) -> None:
        for person in (self.seller, self.buyer):
            await person.sign_in()
            if not person.user.get("roblox_id"):
                await person.link_roblox()

    async def verify(self) -> None:
        """With a new game of the seller's, so that trades can be repeated."""
        made = await self._world(
            "/roblox/_sim/universes",
            {"name": "Skyline Tycoon", "creator_type": "User", "creator_id": 2001},
        )
        self.game_id = str(made["id"])
        verdict = await self.seller.verify_game(self.game_id)
        if verdict["verification_status"] != "VERIFIED":
            raise Broken(f"The game was not verified: {verdict}")

    async def list_game(self) -> None:
        self.listing = await self.seller.call(
            "POST",
            "/v1/listings",
            {
                "title": "Skyline Tycoon",
                "summary": "City builder with 1,200 daily players. Sold with all places.",
                "category": "simulation",
                "price": PRICE,
                "game_id": self.game_id,
            },
        )

    async def make_offer(self) -> None:
        self.offer = await self.buyer.call(
            "POST",
            f"/v1/listings/{self.listing['id']}/offers",
            {"amount": FIRST_OFFER, "currency": "USD", "conditions": "All places included."},
        )

    async def counter(self) -> None:
        self.offer = await self.seller.call(
            "POST",
            f"/v1/offers/{self.offer['id']}/counter",
            {"amount": AGREED, "currency": "USD", "conditions": "All places included."},
        )

    async def accept(self) -> None:
        self.offer = await self.buyer.call("POST", f"/v1/offers/{self.offer['id']}/accept")

    async def draw_up(self) -> None:
        self.contract = await self.buyer.only(
            f"/v1/contracts?offer_id={self.offer['id']}",
            "the contract",
            lambda row: row["status"] == "PENDING_SIGNATURE" and row["document_sha256"],
        )

    async def sign(self) -> None:
        for person in (self.seller, self.buyer):
            await person.sign(self.contract)

    async def execute(self) -> None:
        self.contract = await self.buyer.state(
            f"/v1/contracts/{self.contract['id']}", "EXECUTED", "contract", within_seconds=60
        )

    async def open_escrow(self) -> None:
        self.escrow = await self.buyer.only(
            f"/v1/escrows?contract_id={self.contract['id']}", "the escrow", within_seconds=60
        )

    async def pay(self) -> None:
        await self.buyer.pay(self.escrow["id"], f"{self.simulators_url}/stripe")

    async def hold(self) -> None:
        await self.buyer.state(self.escrow_path, "FUNDS_HELD", "escrow", within_seconds=60)

    async def deliver(self) -> None:
        await self._world(
            f"/roblox/_sim/universes/{self.game_id}/transfer",
            {"creator_type": "Group", "creator_id": 5002},
        )
        await self.seller.call(
            "POST",
            f"{self.escrow_path}/deliver",
            {"title": "Game transferred", "description": "To the buyer's group."},
        )

    async def confirm(self) -> None:
        await self.buyer.call("POST", f"{self.escrow_path}/confirm")

    async def release(self) -> None:
        self.escrow = await self.seller.state(
            self.escrow_path, "RELEASED", "escrow", within_seconds=60
        )

    async def sell(self) -> None:
        self.listing = await self.seller.state(
            f"/v1/listings/{self.listing['id']}", "SOLD", "listing", within_seconds=60
        )

    async def check_ledger(self) -> None:
        """Every entry in cents, credits positive, debits negative; each currency sums to zero."""
        self.ledger = (await self.seller.call("GET", f"{self.escrow_path}/ledger"))["entries"]
        if not self.ledger or any(self.ledger_sums().values()):
            raise Broken(f"The ledger does not sum to zero: {self.ledger}")

    def ledger_sums(self) -> dict[str, int]:
        """Cents by currency."""
        sums: dict[str, int] = {}
        for entry in self.ledger:
            sums[entry["currency"]] = sums.get(entry["currency"], 0) + entry["amount"]
        return sums

    async def keep_document(self) -> None:
        link = await until(
            lambda: self.buyer.call("GET", f"/v1/contracts/{self.contract['id']}/document"),
            lambda answer: "url" in answer,
            "the sealed contract",
        )
        self.document = await self.buyer.download(link["url"])
        self.document_sha256 = hashlib.sha256(self.document).hexdigest()
        if self.document_sha256 != link["sha256"]:
            raise Broken(f"The document hashes to {self.document_sha256}, not {link['sha256']}.")

    async def _world(self, path: str, change: dict[str, Any]) -> Any:
        """Change the simulated Roblox, as the people do outside of the product."""
        async with httpx.AsyncClient(base_url=self.simulators_url) as world:
            answer = await world.post(path, json=change)
        answer.raise_for_status()
        return answer.json()
