"""The part of `_sim` that all simulators share: rules, clock, reset, and a look inside."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body

from simulators.faults import Faults, Rule
from simulators.state import Part, Record

_HIDDEN = frozenset({"clock"})


def router(part: Part, faults: Faults, *, on_reset: Callable[[], None] = lambda: None) -> APIRouter:
    routes = APIRouter(prefix="/_sim")

    @routes.get("/rules")
    async def rules() -> list[Rule]:
        return faults.rules

    @routes.post("/rules", status_code=201)
    async def add_rule(rule: Annotated[Rule, Body()]) -> None:
        faults.rules.append(rule)

    @routes.delete("/rules", status_code=204)
    async def clear_rules() -> None:
        faults.rules.clear()

    @routes.get("/requests")
    async def requests() -> list[dict[str, Any]]:
        """What arrived; a request that a rule stopped before its effect did not."""
        return list(faults.requests)

    @routes.get("/objects")
    async def objects(kind: str | None = None) -> dict[str, list[Record]]:
        """All of them, or those of one kind."""
        wanted = part.kinds() if kind is None else [kind]
        return {name: part.all(name) for name in wanted if name not in _HIDDEN}

    @routes.post("/clock")
    async def advance(seconds: Annotated[float, Body(embed=True, ge=0)]) -> dict[str, int]:
        part.advance(seconds)
        return {"now": part.now()}

    @routes.post("/reset")
    async def reset() -> None:
        """As new; the other simulators keep what they have."""
        part.reset()
        faults.rules.clear()
        faults.requests.clear()
        on_reset()

    return routes
