"""Answers by idempotency key: replayed for 24 h, refused for another request."""

import hashlib
import json

from starlette.responses import JSONResponse, Response

from simulators.state import Part
from simulators.stripe.wire import StripeRefused

KEY_SECONDS = 24 * 3600
_KIND = "idempotency_key"


class Idempotency:
    """Keys belong to an API key; those of other callers do not meet them."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._running: dict[str, str] = {}

    @staticmethod
    def scope(api_key: str, key: str) -> str:
        if len(key) > 255:
            raise StripeRefused(400, "Idempotency keys can have up to 255 characters.")
        return hashlib.sha256(f"{api_key} {key}".encode()).hexdigest()

    @staticmethod
    def fingerprint(method: str, path: str, body: bytes) -> str:
        return hashlib.sha256(f"{method} {path} ".encode() + body).hexdigest()

    def begin(self, key: str, fingerprint: str) -> Response | None:
        """The answer to replay, or None for a first request, which `end` must follow.

        Raises:
            StripeRefused: the key belongs to another request, or is in use right now.
        """
        self._forget_old()
        seen = self._part.get(_KIND, key)
        used_for = self._running.get(key) or (seen and seen["fingerprint"])
        if used_for not in {None, fingerprint}:
            raise StripeRefused(
                400,
                "Keys for idempotent requests can only be used with the same parameters they "
                "were first used with.",
                kind="idempotency_error",
            )
        if key in self._running:
            raise StripeRefused(
                409,
                "There is currently another in-progress request using this Idempotent Key.",
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )
        if seen is None:
            self._running[key] = fingerprint
            return None
        headers = {"Idempotent-Replayed": "true", "Request-Id": seen["request_id"]}
        return JSONResponse(json.loads(seen["body"]), seen["status"], headers)

    def end(self, key: str, answer: Response | None) -> None:
        """Keep the answer of a request that has begun to take effect; None keeps nothing."""
        fingerprint = self._running.pop(key, None)
        if answer is None or fingerprint is None:
            return
        self._part.put(
            _KIND,
            key,
            {
                "fingerprint": fingerprint,
                "status": answer.status_code,
                "body": bytes(answer.body).decode(),
                "request_id": answer.headers.get("request-id", ""),
                "at": self._part.now(),
            },
        )

    def _forget_old(self) -> None:
        born_before = self._part.now() - KEY_SECONDS
        for key, seen in list(self._part.by_id(_KIND).items()):
            if seen["at"] >= born_before:
                break
            self._part.pop(_KIND, key)
