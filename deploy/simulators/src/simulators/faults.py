"""Misbehaviour on request: each simulator's rules fail, delay or swallow matching requests."""

import asyncio
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HANG_SECONDS = 120


class Rule(BaseModel):
    """What happens to the next `times` requests that match."""

    model_config = ConfigDict(extra="forbid")

    method: str | None = None
    path: str = "/"
    """Prefix of the path below the simulator."""
    action: Literal["fail", "timeout", "delay"]
    when: Literal["before", "after"] = "before"
    """Before or after the request has taken effect."""
    status: int = Field(default=500, ge=400, le=599)
    body: dict[str, Any] | None = None
    headers: dict[str, str] = {}
    seconds: float = Field(default=0, ge=0, le=HANG_SECONDS)
    times: int = Field(default=1, ge=1)


class Faults:
    """ASGI middleware of one simulator; its rules are set through `_sim/rules`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.rules: list[Rule] = []

    def take(self, method: str, path: str) -> Rule | None:
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
        rule = None
        if scope["type"] == "http" and not path.startswith("/_sim"):
            rule = self.take(scope["method"], path)
        if rule is None:
            await self.app(scope, receive, send)
            return
        if rule.action == "delay":
            await asyncio.sleep(rule.seconds)
            await self.app(scope, receive, send)
            return
        if rule.when == "after":

            async def swallow(_message: Message) -> None:
                """The effect has happened; the answer is lost."""

            await self.app(scope, receive, swallow)
        if rule.action == "timeout":
            await asyncio.sleep(rule.seconds or HANG_SECONDS)
        body = rule.body or {"error": {"type": "api_error", "message": "Simulated failure."}}
        await JSONResponse(body, rule.status, rule.headers)(scope, receive, send)

    def router(self) -> APIRouter:
        """`GET`, `POST` and `DELETE /_sim/rules`."""
        router = APIRouter(prefix="/_sim")

        @router.get("/rules")
        async def listed() -> list[dict[str, Any]]:
            return [json.loads(rule.model_dump_json()) for rule in self.rules]

        @router.post("/rules", status_code=201)
        async def add(rule: Annotated[Rule, Body()]) -> None:
            self.rules.append(rule)

        @router.delete("/rules", status_code=204)
        async def clear() -> None:
            self.rules.clear()

        return router
