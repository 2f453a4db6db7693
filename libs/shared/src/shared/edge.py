"""What surrounds every request: its id and origin, its trace, the body limit, security headers."""

import functools
import ipaddress
import re
import time
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import audit, crash, telemetry
from shared.ids import new_id
from shared.settings import Network

MAX_BODY_BYTES = 1024 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_HSTS = "max-age=63072000; includeSubDomains"

log = telemetry.get_logger()
answers = Counter("http_answers_total", "Requests answered.", ["method", "route", "status"])
seconds = Histogram("http_answer_seconds", "Time to the first byte.", ["method", "route"])


def client_address(peer: str | None, headers: Headers, trusted: Sequence[Network]) -> str | None:
    """The caller's address: the peer's own, or what a trusted proxy says it forwards for."""
    if peer is None or not is_trusted(peer, trusted):
        return peer
    for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
        address = hop.strip()
        if _address(address) is None:
            break
        peer = address
        if not is_trusted(address, trusted):
            break
    return peer


def is_trusted(peer: str | None, trusted: Sequence[Network]) -> bool:
    address = None if peer is None else _address(peer)
    return address is not None and any(address in network for network in trusted)


@functools.lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class Edge:
    """The outermost ASGI layer of an api."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted: Sequence[Network],
        is_https: bool,
        body_limits: Mapping[str, int],
    ) -> None:
        self.app = app
        self.trusted = trusted
        self.body_limits = body_limits
        self.headers = _SECURITY_HEADERS | (
            {"Strict-Transport-Security": _HSTS} if is_https else {}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        peer = scope["client"][0] if scope.get("client") else None
        request_id = headers.get("x-request-id", "")
        if not is_trusted(peer, self.trusted) or not _REQUEST_ID.fullmatch(request_id):
            request_id = str(new_id())
        origin = audit.origin.set(
            audit.Origin(
                request_id=request_id,
                ip=client_address(peer, headers, self.trusted),
                user_agent=headers.get("user-agent", "")[:500] or None,
            )
        )
        carried = {"correlation_id": request_id}
        if "traceparent" in headers:
            carried["traceparent"] = headers["traceparent"]
        try:
            with telemetry.continue_from(carried, scope["method"]):
                await self._answer(scope, receive, send, request_id)
        finally:
            audit.origin.reset(origin)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.perf_counter()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if scope["method"] not in _SAFE_METHODS and message["status"] < 400:
                    crash.point("cmd.after_commit_before_reply")
                sent = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    sent.setdefault(name, value)
                sent["X-Request-Id"] = request_id
                _count(scope, message["status"], time.perf_counter() - started)
            await send(message)

        limit = self.body_limits.get(scope["path"], MAX_BODY_BYTES)
        await self.app(scope, _limited(scope, receive, limit), answer)


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Refuse to read past the limit, whether the length was declared or not."""
    declared = Headers(scope=scope).get("content-length", "")
    received = 0

    async def limited() -> Message:
        nonlocal received
        if declared.isdecimal() and int(declared) > limit:
            raise HTTPException(413, f"At most {limit} bytes are read.")
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, f"At most {limit} bytes are read.")
        return message

    return limited


def _count(scope: Scope, status: int, took_seconds: float) -> None:
    method = scope["method"]
    # The template, not the path: ids would make a series, a span name and a log key each.
    route = str(getattr(scope.get("route"), "path", "unknown"))
    answers.labels(method, route, str(status)).inc()
    seconds.labels(method, route).observe(took_seconds)
    trace.get_current_span().update_name(f"{method} {route}")
    milliseconds = round(took_seconds * 1000, 1)
    log.info("http.answered", method=method, route=route, status=status, milliseconds=milliseconds)
