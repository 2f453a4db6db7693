"""Webhooks leave signed and at least once: retried until a 2xx, doubled or held back on request."""

import asyncio
import json
import random
import time
from contextlib import suppress

import httpx
import stripe
from pydantic import BaseModel, ConfigDict, Field

from simulators.state import Part, Record

RETRY_SECONDS = (0.5, 1, 2, 5, 10, 30, 60)
IDLE_SECONDS = 0.5
TIMEOUT_SECONDS = 20
_KIND = "delivery"


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
    def __init__(self, part: Part, url: str, secret: str) -> None:
        self._part = part
        self._url = url
        self._secret = secret
        self.mischief = Mischief()
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """There may be something new to send."""
        self._awake.set()

    def behave(self) -> None:
        self.mischief = Mischief()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            while True:
                if not self.mischief.hold:
                    await self._deliver_due(client)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._awake.wait(), IDLE_SECONDS)
                self._awake.clear()

    async def _deliver_due(self, client: httpx.AsyncClient) -> None:
        rows = [row for row in self._part.all(_KIND) if not row["done"]]
        due = [row["event"] for row in rows if row["due_at"] <= time.time()]
        if self.mischief.reorder:
            random.shuffle(due)
        for event_id in due:
            if self.mischief.hold:
                return
            await self._deliver(client, event_id)

    async def _deliver(self, client: httpx.AsyncClient, event_id: str) -> None:
        event = self._part.get("event", event_id)
        if event is None:
            return
        copies = 0 if self.mischief.drop else self.mischief.duplicate
        statuses = [await self.send(client, event) for _ in range(copies)]
        row = self._part.get(_KIND, event_id)
        if row is None:
            return  # forgotten while it was on its way
        is_done = all(200 <= status < 300 for status in statuses)
        wait = RETRY_SECONDS[min(row["tries"], len(RETRY_SECONDS) - 1)]
        row |= {
            "tries": row["tries"] + 1,
            "due_at": time.time() + wait,
            "done": is_done,
            "last_status": statuses[-1] if statuses else None,
        }
        self._part.put(_KIND, event_id, row)
        if is_done:
            self._part.put("event", event_id, event | {"pending_webhooks": 0})
        self._part.save()

    async def send(self, client: httpx.AsyncClient, event: Record) -> int:
        """The status of one delivery; 0 when nobody answers."""
        body = json.dumps(event)
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

    def resend(self, event_id: str) -> bool:
        """Send an event once more, whether or not it has been taken."""
        row = self._part.get(_KIND, event_id)
        if row is None:
            return False
        self._part.put(_KIND, event_id, row | {"done": False, "due_at": 0})
        self._part.save()
        self.wake()
        return True
