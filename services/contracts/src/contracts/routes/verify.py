"""Anyone may ask whether a file is a contract of ours."""

from typing import Any

from fastapi import APIRouter, Request

from contracts import use_cases
from contracts.documents.examine import examine
from contracts.errors import NotAPdf
from contracts.schemas import VerdictView
from shared import audit, limits, problems
from shared.errors import TooManyRequests

PATH = "/v1/contracts/verify"
LARGEST_FILE_BYTES = 10 * 1024 * 1024
FILES_PER_HOUR = 60
_HEAD_BYTES = 1024
"""A PDF says within this many that it is one (ISO 32000-1, note in annex H)."""
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(tags=["contracts"])


@router.post(
    PATH,
    summary="Is this file a contract of ours, unharmed?",
    responses=problems.responses(NotAPdf, TooManyRequests),
    openapi_extra=_BODY,
)
async def verify(request: Request) -> VerdictView:
    state = request.app.state
    await limits.hit(
        state.sessions,
        f"verify:{audit.origin.get().ip}",
        limit=FILES_PER_HOUR,
        per_seconds=3600,
    )
    file = await request.body()
    if b"%PDF-" not in file[:_HEAD_BYTES]:
        raise NotAPdf
    found = await examine(file, state.settings.roots)
    async with state.sessions() as session:
        return VerdictView.of(await use_cases.verify(session, found))
