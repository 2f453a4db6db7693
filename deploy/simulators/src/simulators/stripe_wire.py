"""How Stripe talks: bracketed forms, strict parameters, error shapes, idempotency keys."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import stripe
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from simulators.state import State, make_id

API_VERSION = stripe._api_version._ApiVersion.CURRENT  # noqa: SLF001 - the SDK pins it there
KEY_SECONDS = 24 * 3600
_OPTIONS = frozenset(
    {
        "api_key",
        "stripe_version",
        "stripe_account",
        "stripe_context",
        "max_network_retries",
        "idempotency_key",
        "content_type",
        "headers",
    }
)
_PART = re.compile(r"\[([^\]]*)\]")


class StripeRefused(Exception):
    """An error as Stripe would answer it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": kind, "message": message, "code": code, "param": param, **extra}

    def response(self) -> JSONResponse:
        body = {name: value for name, value in self.error.items() if value is not None}
        return JSONResponse({"error": body}, self.status, {"Request-Id": make_id("req")})


def parse_form(text: str) -> dict[str, Any]:
    """`metadata[intent_id]=5&expand[0]=charge` as nested dicts and lists."""
    root: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, *rest = [name.partition("[")[0], *_PART.findall(name)]
        place = root
        for part, following in zip([head, *rest], rest, strict=False):
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise StripeRefused(400, f"Invalid nesting at {following}.", param=name)
        place[[head, *rest][-1]] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key == "" or key.isdecimal() for key in value):
        return [_lists(item) for item in value.values()]
    return {key: _lists(item) for key, item in value.items()}


def check_params(params: dict[str, Any], allowed: type, extra: Iterable[str] = ()) -> None:
    """Refuse what the SDK's own parameter type of this call does not know or misses.

    Raises:
        StripeRefused: `parameter_unknown` or `parameter_missing`, as Stripe says it.
    """
    known = set(allowed.__annotations__) - _OPTIONS | set(extra)
    for name in params:
        if name not in known:
            raise StripeRefused(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )
    for name in sorted(getattr(allowed, "__required_keys__", ())):
        if name not in params:
            raise StripeRefused(
                400, f"Missing required param: {name}.", code="parameter_missing", param=name
            )


def amount_of(params: dict[str, Any], *, least: int = 1) -> int:
    """The amount in cents.

    Raises:
        StripeRefused: it is no integer, or below the least.
    """
    text = str(params.get("amount", ""))
    if not re.fullmatch(r"\d{1,12}", text):
        code = "parameter_invalid_integer" if text else "parameter_missing"
        raise StripeRefused(400, f"Invalid integer: {text}", code=code, param="amount")
    if int(text) < least:
        raise StripeRefused(400, "Amount too small.", code="amount_too_small", param="amount")
    return int(text)


class Idempotency:
    """Answers of POSTs by key: replayed for 24 h, refused for another request."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._running: set[str] = set()

    @property
    def _kept(self) -> dict[str, Any]:
        keys: dict[str, Any] = self._state.data["stripe"]["keys"]
        for key in [k for k, v in keys.items() if v["at"] + KEY_SECONDS < self._state.now()]:
            del keys[key]
        return keys

    @staticmethod
    def fingerprint(request: Request, body: bytes) -> str:
        return hashlib.sha256(f"{request.method} {request.url.path} ".encode() + body).hexdigest()

    def begin(self, key: str, fingerprint: str) -> Response | None:
        """The answer to replay, or None for a first request, which `end` must follow.

        Raises:
            StripeRefused: the key belongs to another request, or is in use right now.
        """
        if key in self._running:
            raise StripeRefused(
                409,
                "There is currently another in-progress request using this Idempotent Key.",
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )
        seen = self._kept.get(key)
        if seen is None:
            self._running.add(key)
            return None
        if seen["fingerprint"] != fingerprint:
            raise StripeRefused(
                400,
                "Keys for idempotent requests can only be used with the same parameters.",
                kind="idempotency_error",
            )
        headers = {"Idempotent-Replayed": "true", "Request-Id": make_id("req")}
        return JSONResponse(json.loads(seen["body"]), seen["status"], headers)

    def end(self, key: str, fingerprint: str, answer: Response | None) -> None:
        """Keep the answer of a request that has begun to take effect; None keeps nothing."""
        self._running.discard(key)
        if answer is not None:
            self._kept[key] = {
                "fingerprint": fingerprint,
                "status": answer.status_code,
                "body": bytes(answer.body).decode(),
                "at": self._state.now(),
            }
