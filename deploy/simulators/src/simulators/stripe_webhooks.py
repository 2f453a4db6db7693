"""Webhooks leave signed and at least once: retried until a 2xx, doubled or held back on request."""

import asyncio
import json
import random
import time
from typing import Annotated, Any

import httpx
import stripe
from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from simulators.state import State
from simulators.stripe_wire import API_VERSION
from simulators.stripe_world import StripeWorld

RETRY_SECONDS = (0.5, 1, 2, 5, 10, 30, 60)
IDLE_SECONDS = 0.5


class Mischief(BaseModel):
    """How webhooks misbehave until told otherwise."""

    model_config = ConfigDict(extra="forbid")

    duplicate: int = Field(default=1, ge=1, le=100)
    """How often each one is sent."""
    reorder: bool = False
    hold: bool = False
    """Keep them back until this is false again."""
    drop: bool = False
    """Never send those that become due now."""


class Webhooks:
    def __init__(self, state: State, url: str, secret: str) -> None:
        self._state = state
        self._url = url
        self._secret = secret
        self.mischief = Mischief()
        self._awake = asyncio.Event()

    def wake(self) -> None:
        self._awake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with httpx.AsyncClient(timeout=20) as client:
            while True:
                sent = 0 if self.mischief.hold else await self._deliver_due(client)
                if not sent:
                    try:
                        await asyncio.wait_for(self._awake.wait(), IDLE_SECONDS)
                    except TimeoutError:
                        continue
                    finally:
                        self._awake.clear()

    async def _deliver_due(self, client: httpx.AsyncClient) -> int:
        stripe_state = self._state.data["stripe"]
        events = {event["id"]: event for event in stripe_state["events"]}
        due = [
            row
            for row in stripe_state["deliveries"]
            if not row["done"] and row["due_at"] <= time.time()
        ]
        if self.mischief.reorder:
            random.shuffle(due)
        for row in due:
            if self.mischief.drop:
                row["done"] = True
                continue
            answers = [
                await self.send(client, events[row["event"]])
                for _ in range(self.mischief.duplicate)
            ]
            row["tries"] += 1
            row["done"] = all(200 <= status < 300 for status in answers)
            row["due_at"] = time.time() + RETRY_SECONDS[min(row["tries"], len(RETRY_SECONDS)) - 1]
            events[row["event"]]["pending_webhooks"] = 0 if row["done"] else 1
        if due:
            self._state.save()
        return len(due)

    async def send(self, client: httpx.AsyncClient, event: dict[str, Any]) -> int:
        """The status of one delivery; 0 when nobody answers."""
        body = json.dumps({**event, "api_version": API_VERSION})
        signature = stripe.WebhookSignature.generate_signature_header(body, self._secret)
        try:
            answer = await client.post(
                self._url,
                content=body,
                headers={"Stripe-Signature": signature, "Content-Type": "application/json"},
            )
        except httpx.HTTPError:
            return 0
        return answer.status_code


def control_router(state: State, webhooks: Webhooks) -> APIRouter:
    """`/_sim`: what is inside, how webhooks behave, the clock, and changing an object."""
    routes = APIRouter(prefix="/_sim")
    world = StripeWorld(state)

    @routes.get("/objects")
    async def objects() -> dict[str, Any]:
        kinds = state.data["stripe"]["objects"]
        return {kind: list(by_id.values()) for kind, by_id in kinds.items()}

    @routes.get("/requests")
    async def requests() -> Any:
        return state.data["stripe"]["requests"]

    @routes.get("/deliveries")
    async def deliveries() -> Any:
        return state.data["stripe"]["deliveries"]

    @routes.put("/webhooks")
    async def misbehave(mischief: Annotated[Mischief, Body()]) -> None:
        webhooks.mischief = mischief
        webhooks.wake()

    @routes.post("/resend")
    async def resend(event_id: Annotated[str, Body(embed=True)]) -> None:
        for row in state.data["stripe"]["deliveries"]:
            if row["event"] == event_id:
                row |= {"done": False, "due_at": 0}
        webhooks.wake()

    @routes.post("/objects/{kind}/{object_id}")
    async def change(kind: str, object_id: str, fields: Annotated[dict[str, Any], Body()]) -> Any:
        """Make Stripe say something else about an object."""
        changed = world.put(kind, world.get(kind, object_id) | fields)
        state.save()
        return changed

    @routes.post("/clock")
    async def advance(seconds: Annotated[int, Body(embed=True)]) -> None:
        state.data["clock_offset_seconds"] += seconds
        state.save()

    @routes.post("/reset")
    async def reset() -> None:
        state.reset()
        webhooks.mischief = Mischief()

    return routes
