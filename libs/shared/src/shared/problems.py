"""Every refusal leaves as RFC 9457 problem+json with a stable `type`; nobody else picks statuses.

Bodies name the rule that was broken, never SQL, stack traces or the values that were sent.
"""

import json
import socket
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import asyncpg
import sqlalchemy.exc
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import telemetry
from shared.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    NotImplementedYet,
    PreconditionFailed,
    TooManyRequests,
    Unavailable,
)

log = telemetry.get_logger()

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "https://bloxtr8.dev/problems/"


class Unauthorized(DomainError):
    code = "unauthorized"
    title = "A valid access token is needed"


class PreconditionRequired(DomainError):
    code = "precondition-required"
    title = "The request must name the version it was made for"


class ConcurrentChange(Conflict):
    """Two commands met on one unique row; the later one may simply be sent again."""

    code = "concurrent-change"
    title = "Another request changed this at the same moment"
    retry_after_seconds = 1


STATUSES: dict[type[DomainError], int] = {
    DomainError: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    PreconditionFailed: 412,
    Invalid: 422,
    PreconditionRequired: 428,
    TooManyRequests: 429,
    NotImplementedYet: 501,
    Unavailable: 503,
}

_RETRYABLE_SQLSTATES = ("40001", "40P01", "55P03", "57014")
_UNREACHABLE_SQLSTATE_CLASSES = ("08", "53", "57")
_UNREACHABLE = (
    sqlalchemy.exc.TimeoutError,
    sqlalchemy.exc.InterfaceError,
    asyncpg.InterfaceError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
)
_UNIQUE_VIOLATION = "23505"
_UNSTORABLE_TEXT = ("22021", "22P05")


class FieldProblem(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """The body of every refusal (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    """`https://bloxtr8.dev/problems/<code>`; the code never changes its meaning."""
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] | None = None
    """Which fields of the request are meant."""


def status_of(kind: type[DomainError]) -> int:
    return next(STATUSES[base] for base in kind.__mro__ if base in STATUSES)


def answer(
    path: str,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """The response of one problem; `members` that are None are left out."""
    body = {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path,
        **{name: value for name, value in members.items() if value is not None},
    }
    return Response(json.dumps(body), status, dict(headers or {}), MEDIA_TYPE)


def of_error(path: str, error: DomainError) -> Response:
    """The response that says this refusal."""
    headers = {}
    retry_after_seconds = getattr(error, "retry_after_seconds", None)
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after_seconds)
    if isinstance(error, Unauthorized):
        invalid = ' error="invalid_token"' if error.extra.get("token") == "invalid" else ""
        headers["WWW-Authenticate"] = "Bearer" + invalid
    extra = {name: value for name, value in error.extra.items() if name not in {"token", "errors"}}
    errors = [{"field": error.field, "message": error.detail}] if error.field else None
    return answer(
        path,
        status=status_of(type(error)),
        code=error.code,
        title=error.title,
        detail=error.detail,
        headers=headers,
        errors=errors,
        **extra,
    )


def of_status(path: str, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """The response for a plain HTTP status, for example 404 of an unknown path."""
    phrase = _phrase(status)
    code = phrase.lower().replace(" ", "-")
    return answer(path, status=status, code=code, title=phrase, detail=detail, headers=headers)


def _phrase(status: int) -> str:
    # Python 3.13 renamed 413; a `type` must not change with the interpreter.
    return "Content Too Large" if status == 413 else HTTPStatus(status).phrase


def of_database(error: BaseException) -> DomainError | None:
    """What a failure of the database means to a client; None when it is our own mistake."""
    wrapped = error if isinstance(error, sqlalchemy.exc.DBAPIError) else None
    origin = wrapped.orig if wrapped else error
    sqlstate = getattr(origin, "sqlstate", None) or ""
    if sqlstate == _UNIQUE_VIOLATION:
        return ConcurrentChange("Another request did this at the same moment. Please look again.")
    if sqlstate in _UNSTORABLE_TEXT:
        return Invalid("The request contains a character that cannot be stored.")
    if sqlstate in _RETRYABLE_SQLSTATES:
        return Unavailable("Other requests were in the way. Try again.", retry_after_seconds=1)
    is_unreachable = (
        sqlstate.startswith(_UNREACHABLE_SQLSTATE_CLASSES)
        or isinstance(error, _UNREACHABLE)
        or isinstance(origin, _UNREACHABLE)
        or (wrapped is not None and wrapped.connection_invalidated)
    )
    if is_unreachable:
        return Unavailable("The database does not answer right now. Try again in a moment.")
    return None


def responses(*kinds: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """What a route may refuse with, for its `responses=`."""
    grouped: dict[int | str, list[type[DomainError]]] = {}
    for kind in kinds:
        grouped.setdefault(status_of(kind), []).append(kind)
    return {
        status: of_usual(status_of(same[0]))
        | {"description": "; ".join(f"{kind.title} (`{kind.code}`)" for kind in same)}
        for status, same in grouped.items()
    }


def of_usual(status: int) -> dict[str, Any]:
    """OpenAPI's entry for a refusal that needs no words of the route."""
    return {
        "description": _phrase(status),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _of_validation(request: Request, error: RequestValidationError) -> Response:
    path = request.url.path
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = content_type == "application/json" or content_type.endswith("+json")
    if isinstance(error.body, bytes) and not is_json:
        return of_status(path, 415, "Send the body as application/json.", {})
    errors = [_field_problem(problem) for problem in error.errors()]
    return answer(
        path,
        status=422,
        code="invalid-request",
        title="The request is not well formed",
        detail="Some fields are missing, unknown or out of range.",
        errors=errors,
    )


def _field_problem(problem: dict[str, Any]) -> dict[str, str]:
    where, *names = problem["loc"]
    if problem["type"] == "json_invalid":  # its location is a position in the text
        return {"field": str(where), "message": "This is not JSON."}
    field = ".".join(str(name) for name in names) or str(where)
    return {"field": field, "message": problem["msg"].removeprefix("Value error, ")}


def _domain_error(request: Request, error: Exception) -> Response:
    return of_error(request.url.path, cast("DomainError", error))


def _http_exception(request: Request, error: Exception) -> Response:
    refused = cast("HTTPException", error)
    detail = refused.detail
    if detail == HTTPStatus(refused.status_code).phrase:
        detail = HTTPStatus(refused.status_code).description or detail
    return of_status(request.url.path, refused.status_code, detail, refused.headers or {})


def _validation_error(request: Request, error: Exception) -> Response:
    return _of_validation(request, cast("RequestValidationError", error))


class LastResort:
    """Turns what nobody expected into a 503 (database away) or a 500 that tells nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            await self._refuse(scope["path"], error)(scope, receive, send)

    @staticmethod
    def _refuse(path: str, error: Exception) -> Response:
        known = of_database(error)
        if known is not None:
            log.warning("http.database_refused", reason=type(error).__name__, problem=known.code)
            return of_error(path, known)
        if isinstance(error, (sqlalchemy.exc.DBAPIError, asyncpg.PostgresError)):
            # Its message may quote a whole row, so only its kind and place are logged.
            frames = traceback.extract_tb(error.__traceback__)
            where = [
                f"{f.filename}:{f.lineno}" for f in frames if "site-packages" not in f.filename
            ]
            sqlstate = getattr(getattr(error, "orig", error), "sqlstate", None)
            log.error("http.failed", reason=type(error).__name__, sqlstate=sqlstate, where=where)
        else:
            log.error("http.failed", exc_info=error)
        return of_status(path, 500, "Something went wrong on our side.", {})


def install(app: FastAPI) -> None:
    """Make every refusal of this app a problem."""
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_middleware(LastResort)
