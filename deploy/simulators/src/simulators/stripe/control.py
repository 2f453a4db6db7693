"""`/stripe/_sim`: how webhooks behave, what Stripe says of its objects, disputes, balances."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException
from pydantic import BaseModel, ConfigDict

from simulators.state import Part, Record
from simulators.stripe.disputes import close_dispute, open_dispute
from simulators.stripe.webhooks import Mischief, Webhooks
from simulators.stripe.wire import StripeRefused
from simulators.stripe.world import PLATFORM, StripeWorld


class Balance(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account: str = PLATFORM
    currency: str = "usd"
    available: int
    """Cents."""


class NewDispute(BaseModel):
    model_config = ConfigDict(extra="forbid")

    charge: str
    reason: str = "fraudulent"


def router(part: Part, webhooks: Webhooks) -> APIRouter:
    routes = APIRouter(prefix="/_sim")
    world = StripeWorld(part)

    def finish() -> None:
        part.save()
        webhooks.wake()

    @routes.put("/webhooks")
    async def misbehave(mischief: Annotated[Mischief, Body()]) -> None:
        webhooks.mischief = mischief
        webhooks.wake()

    @routes.get("/webhooks")
    async def behaviour() -> Mischief:
        return webhooks.mischief

    @routes.get("/deliveries")
    async def deliveries() -> list[Record]:
        return part.all("delivery")

    @routes.post("/resend")
    async def resend(event_id: Annotated[str, Body(embed=True)]) -> None:
        if not webhooks.resend(event_id):
            raise HTTPException(404, "There is no such event.")

    @routes.post("/objects/{kind}/{object_id}")
    async def change(kind: str, object_id: str, fields: Annotated[dict[str, Any], Body()]) -> Any:
        """Make Stripe say something else about an object, telling nobody."""
        found = part.get(kind, object_id)
        if found is None:
            raise HTTPException(404, "There is no such object.")
        changed = part.put(kind, object_id, found | fields)
        finish()
        return changed

    @routes.post("/disputes", status_code=201)
    async def dispute(new: Annotated[NewDispute, Body()]) -> Record:
        try:
            opened = open_dispute(world, new.charge, new.reason)
        except StripeRefused as error:
            raise HTTPException(409, str(error)) from error
        finish()
        return opened

    @routes.post("/disputes/{dispute_id}/{outcome}")
    async def decide(dispute_id: str, outcome: str) -> Record:
        if outcome not in {"win", "lose"}:
            raise HTTPException(404, "A dispute is to win or to lose.")
        try:
            closed = close_dispute(world, dispute_id, is_won=outcome == "win")
        except StripeRefused as error:
            raise HTTPException(409, str(error)) from error
        finish()
        return closed

    @routes.put("/balance")
    async def set_balance(balance: Annotated[Balance, Body()]) -> Record:
        world.set_available(balance.account, balance.currency, balance.available)
        finish()
        return world.balance(balance.account)

    @routes.get("/ledger")
    async def ledger() -> dict[str, Any]:
        """Every movement's entries in cents; each movement, and so the whole, sums to zero."""
        entries = part.all("entry")
        return {"entries": entries, "sum": sum(entry["amount"] for entry in entries)}

    return routes
