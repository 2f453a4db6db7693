"""Misbehaviour on request: each simulator's rules fail, delay or swallow matching requests."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HANG_SECONDS = 120
KEPT_REQUESTS = 5000
_AFTER = "simulators.after"


class Rule(BaseModel):
    """What happens to the next `times` requests that match."""

    model_config = ConfigDict(extra="forbid")

    method: str | None = None
    path: str = "/"
    """Prefix of the path below the simulator."""
    action: Literal["fail", "timeout", "delay", "drop"]
    when: Literal["before", "after"] = "before"
    """Before or after the request has taken effect."""
    status: int = Field(default=500, ge=400, le=599)
    body: dict[str, Any] | None = None
    headers: dict[str, str] = {}
    seconds: float = Field(default=0, ge=0, le=HANG_SECONDS)
    """How long `delay` waits, and `timeout` hangs until the connection is cut (0: 120 s)."""
    times: int = Field(default=1, ge=1)

    def failure(self) -> Response:
        body = self.body or {"error": {"type": "api_error", "message": "Simulated failure."}}
        return JSONResponse(body, self.status, self.headers)


class Held:
    """A rule for after the effect, until somebody takes it on."""

    def __init__(self, rule: Rule) -> None:
        self.rule: Rule | None = rule

    def take(self, *actions: str) -> Rule | None:
        """The rule, if it is one of these; whoever takes it answers for it."""
        rule = self.rule
        if rule is None or rule.action not in actions:
            return None
        self.rule = None
        return rule


def held_rule(scope: Scope) -> Held | None:
    """What is to go wrong after this request has taken effect."""
    held: Held | None = scope.get(_AFTER)
    return held


class Faults:
    """ASGI middleware around one simulator, which also keeps what arrived there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.rules: list[Rule] = []
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)

    def _take(self, method: str, path: str) -> Rule | None:
        """The first rule that matches, used up once."""
        for rule in self.rules:
            if rule.method in {None, method} and path.startswith(rule.path):
                rule.times -= 1
                if rule.times == 0:
                    self.rules.remove(rule)
                return rule
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or path.startswith("/_sim"):
            await self.app(scope, receive, send)
            return
        rule = self._take(scope["method"], path)
        if rule is not None and rule.when == "before":
            if rule.action != "delay":
                await _misbehave(rule, scope, receive, send)
                return
            await asyncio.sleep(rule.seconds)
            rule = None
        await self._pass_on(path, rule, scope, receive, send)

    async def _pass_on(
        self, path: str, rule: Rule | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = dict(scope["headers"])
        seen: dict[str, Any] = {
            "method": scope["method"],
            "path": path,
            "idempotency_key": headers.get(b"idempotency-key", b"").decode("latin-1") or None,
            "status": None,
        }
        self.requests.append(seen)
        held = Held(rule) if rule else None
        scope[_AFTER] = held

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
            if held is None or held.rule is None:
                await send(message)

        if rule is not None and rule.action == "delay":
            late = await self._held_back(held, rule, scope, receive)
            for message in late:
                await answer(message)
            return
        await self.app(scope, receive, answer)
        if held is not None and held.rule is not None:
            await _misbehave(held.rule, scope, receive, send)

    async def _held_back(
        self, held: Held | None, rule: Rule, scope: Scope, receive: Receive
    ) -> list[Message]:
        """The answer, after the delay (unless the simulator itself has waited)."""
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self.app(scope, receive, keep)
        if held is not None and held.take("delay"):
            await asyncio.sleep(rule.seconds)
        return kept


async def _misbehave(rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the failure, or with nothing."""
    if rule.action == "fail":
        await rule.failure()(scope, receive, send)
        return
    if rule.action == "timeout":
        with suppress(TimeoutError):
            async with asyncio.timeout(rule.seconds or HANG_SECONDS):
                while (await receive())["type"] != "http.disconnect":
                    """The client still waits."""
    # An answer that stops short of its length makes the server cut the connection.
    length = [(b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 502, "headers": length})
