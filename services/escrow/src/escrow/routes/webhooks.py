"""Stripe's webhooks: verified, kept once, answered after the commit; the work is a job's."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.exceptions import HTTPException

from escrow import schemas
from escrow.errors import WebhookRefused
from escrow.rails import webhooks
from escrow.routes.outside import Out
from escrow.use_cases import hearing
from shared import problems
from shared.transactions import Transaction

router = APIRouter(tags=["webhooks"])


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > webhooks.MAX_BYTES:
            raise HTTPException(413, f"At most {webhooks.MAX_BYTES} bytes are read.")
    return bytes(body)


@router.post("/v1/webhooks/stripe", responses=problems.responses(WebhookRefused))
async def hear_stripe(
    request: Request,
    session: Transaction,
    out: Out,
    stripe_signature: Annotated[str | None, Header(max_length=2000)] = None,
) -> schemas.WebhookKept:
    """Not for people: signed by Stripe over the exact bytes."""
    notice, payload = webhooks.read(
        await _read(request),
        stripe_signature,
        out.settings.webhook_secrets,
        is_live=out.settings.is_live,
    )
    await hearing.keep(
        session,
        event_id=notice.id,
        event_type=notice.type,
        object_id=notice.object_id,
        created=notice.created_at,
        payload=payload,
        look_at=notice.look_at,
    )
    return schemas.WebhookKept()
