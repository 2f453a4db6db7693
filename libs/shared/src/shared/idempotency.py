"""A command sent twice with one Idempotency-Key takes effect once and is answered twice alike.

The stored answer is a row of the command's own transaction, so a refusal stores nothing. An
advisory lock on caller, route and key turns a second request away while the first still runs.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.routing import BaseRoute

from shared.answers import KEPT
from shared.database import driver
from shared.errors import Conflict, DomainError, Invalid
from shared.transactions import request_transaction

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotencyKeyRequired(DomainError):
    code = "idempotency-key-required"
    title = "This command needs an Idempotency-Key header"


class IdempotencyKeyReused(Invalid):
    code = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"


class IdempotencyInProgress(Conflict):
    code = "idempotency-in-progress"
    title = "A request with this Idempotency-Key is still running"
    retry_after_seconds = 1


class AnswerNotKept(Conflict):
    code = "idempotency-answer-not-kept"
    title = "This command has been done; its answer held a secret and was not kept"


REFUSALS: tuple[type[DomainError], ...] = (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    IdempotencyInProgress,
    AnswerNotKept,
)
"""For a keyed route's `problems.responses(...)`."""


_FIND = """
SELECT claim.is_ours, kept.body_hash, kept.status, kept.answer
FROM (SELECT pg_try_advisory_xact_lock($1) AS is_ours) AS claim
LEFT JOIN idempotency_keys AS kept ON kept.id = $2 AND kept.created_at >= clock() - $3::interval
"""
_KEEP = """
INSERT INTO idempotency_keys AS kept (id, body_hash, status, answer) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET
    body_hash = excluded.body_hash, status = excluded.status, answer = excluded.answer,
    created_at = clock()
WHERE kept.created_at < clock() - $5::interval
RETURNING true
"""
"""Finds another answer only when that was committed between the look at the table and the lock of
the same statement (`_FIND`): then this command is rolled back, and asked for again it is replayed.
"""


class Guard:
    """Runs one command at most once per owner, route and key; without a key it just runs it."""

    def __init__(self, request: Request, key: str | None) -> None:
        self._request = request
        self._key = key

    async def __call__(
        self,
        owner: UUID | str,
        command: Callable[[AsyncSession], Awaitable[BaseModel]],
        *,
        status: int = 200,
        secret: bool = False,
    ) -> Response:
        """Run the command in a transaction, or answer as it was answered before.

        Args:
            owner: whose key it is: the caller's id, or for example `link:<sha256>`.
            command: changes state in the transaction it is given, and returns the answer.
            status: the HTTP status of the first answer, and of each replay.
            secret: the answer holds a secret: it is not stored, and a replay is refused.

        Raises:
            IdempotencyKeyReused: the key came with another body or path before.
            IdempotencyInProgress: the same request is still running.
            AnswerNotKept: the command was done and its answer was secret.
        """
        async with request_transaction(self._request) as session:
            if self._key is None:
                return _json(_body(await command(session)), status)
            return await self._keyed(session, str(owner), command, status, is_secret=secret)

    async def _keyed(
        self,
        session: AsyncSession,
        owner: str,
        command: Callable[[AsyncSession], Awaitable[BaseModel]],
        status: int,
        *,
        is_secret: bool,
    ) -> Response:
        row_id = _hash(owner, self._request.method, _route(self._request), str(self._key))
        body_hash = await self._fingerprint()
        replay = await _replay(session, row_id, body_hash)
        if replay is not None:
            return replay
        body = _body(await command(session))
        kept = None if is_secret else body
        if not await (await driver(session)).fetchval(_KEEP, row_id, body_hash, status, kept, KEPT):
            raise _in_progress()
        return _json(body, status)

    async def _fingerprint(self) -> bytes:
        """Equal for requests that mean the same: spacing and order of members do not count."""
        try:
            meaning = json.dumps(await self._request.json(), sort_keys=True)
        except ValueError:  # a route without a body never looked at it
            meaning = (await self._request.body()).hex()
        return _hash(self._request.url.path, self._request.url.query, meaning)


async def _replay(session: AsyncSession, row_id: bytes, body_hash: bytes) -> Response | None:
    lock = int.from_bytes(row_id[:8], "big", signed=True)
    done = await (await driver(session)).fetchrow(_FIND, lock, row_id, KEPT)
    assert done is not None
    if not done["is_ours"]:
        raise _in_progress()
    if done["body_hash"] is None:
        return None
    if done["body_hash"] != body_hash:
        raise IdempotencyKeyReused("Use a new key for a new request.", field=HEADER)
    if done["answer"] is None:
        raise AnswerNotKept("It took effect the first time. Use a new key to do it again.")
    replayed = _json(done["answer"], done["status"])
    replayed.headers["Idempotency-Replayed"] = "true"
    return replayed


def _in_progress() -> IdempotencyInProgress:
    return IdempotencyInProgress("The same request is still running. Ask again in a second.")


def _body(answer: BaseModel) -> bytes:
    return answer.model_dump_json().encode()


def _json(body: bytes, status: int) -> Response:
    return Response(body, status, media_type="application/json")


def _hash(*parts: str) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _route(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", request.url.path))


def _key_of(request: Request) -> str | None:
    """Raises: Invalid: the header is not 1 to 255 visible ASCII characters."""
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid("The key must be 1 to 255 visible ASCII characters.", field=HEADER)
    return key


async def _once(request: Request) -> Guard:
    key = _key_of(request)
    if key is None:
        raise IdempotencyKeyRequired(f"Send an {HEADER} header with a value of your own.")
    return Guard(request, key)


async def _once_if_keyed(request: Request) -> Guard:
    return Guard(request, _key_of(request))


Once = Annotated[Guard, Depends(_once)]
"""The header is required: money or a signature moves."""
OnceIfKeyed = Annotated[Guard, Depends(_once_if_keyed)]
"""The header is honoured when sent."""


def tell(document: dict[str, Any], routes: Sequence[BaseRoute]) -> None:
    """Name the header in the OpenAPI document of the routes that read it.

    A parameter of the dependency would say the same, and be validated at each request.
    """
    for route in routes:
        if not isinstance(route, APIRoute):
            continue
        asked = {needed.call for needed in route.dependant.dependencies}
        if asked.isdisjoint({_once, _once_if_keyed}):
            continue
        header = {
            "name": HEADER,
            "in": "header",
            "required": _once in asked,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation.setdefault("parameters", []).append(header)
