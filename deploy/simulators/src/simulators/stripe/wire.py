"""How Stripe talks: bracketed forms, error shapes, cursor lists, expanded fields."""

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

import stripe
from starlette.responses import JSONResponse

API_VERSION = stripe._api_version._ApiVersion.CURRENT  # noqa: SLF001 - the SDK pins it there
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
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

    def response(self, request_id: str) -> JSONResponse:
        body = {name: value for name, value in self.error.items() if value is not None}
        return JSONResponse({"error": body}, self.status, {"Request-Id": request_id})


def missing(kind: str, object_id: str, param: str = "id") -> StripeRefused:
    return StripeRefused(
        404, f"No such {kind}: '{object_id}'", code="resource_missing", param=param
    )


def parse_form(text: str) -> dict[str, Any]:
    """`metadata[intent_id]=5&expand[]=charge` as nested dicts; what is a list, types decide."""
    root: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found = _NAME.fullmatch(name)
        if found is None:
            raise StripeRefused(400, f"Invalid parameter name: {name}", param=name)
        *path, last = [found[1], *_PART.findall(found[2])]
        place = root
        for part in path:
            place = place.setdefault(part or str(len(place)), {})
            if not isinstance(place, dict):
                raise StripeRefused(400, f"Invalid nesting: {name}", param=name)
        place[last or str(len(place))] = value
    return root


def page(found: list[dict[str, Any]], params: dict[str, Any], url: str) -> dict[str, Any]:
    """One page of things that come newest first."""
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeRefused(400, "Invalid limit: it must be 1 to 100.", param="limit")
    ids = [thing["id"] for thing in found]
    for cursor in ("starting_after", "ending_before"):
        if cursor in params and params[cursor] not in ids:
            raise missing("object", params[cursor], cursor)
    if "ending_before" in params:
        newer = found[: ids.index(params["ending_before"])]
        shown, more = newer[-limit:], len(newer) > limit
    else:
        first = ids.index(params["starting_after"]) + 1 if "starting_after" in params else 0
        shown, more = found[first : first + limit], len(found) > first + limit
    return {"object": "list", "url": url, "has_more": more, "data": shown}


def is_within(created: int, window: dict[str, int] | int | None) -> bool:
    if isinstance(window, int):
        return created == window
    checks: dict[str, Callable[[int], bool]] = {
        "gt": created.__gt__,
        "gte": created.__ge__,
        "lt": created.__lt__,
        "lte": created.__le__,
    }
    return all(checks[name](value) for name, value in (window or {}).items())


def expand(
    thing: dict[str, Any], paths: Iterable[str], find: Callable[[str], dict[str, Any] | None]
) -> dict[str, Any]:
    """The thing with ids replaced by the objects they name, along paths like `data.charge`."""
    for path in paths:
        head, _, rest = path.partition(".")
        value = thing.get(head)
        inner: Any = value
        if isinstance(value, str):
            inner = find(value)
        if inner is None and head in thing and value is None:
            continue
        if isinstance(inner, list):
            inner = [expand(item, [rest], find) if rest else item for item in inner]
        elif isinstance(inner, dict):
            inner = expand(inner, [rest], find) if rest else inner
        else:
            raise StripeRefused(400, f"This property cannot be expanded ({path}).", param="expand")
        thing = {**thing, head: inner}
    return thing


def merge_metadata(kept: dict[str, str], given: Any) -> dict[str, str]:
    """New keys are added, empty values unset theirs, an empty string unsets all."""
    if given is None:
        return kept
    if given == "":
        return {}
    merged = {name: value for name, value in {**kept, **given}.items() if value != ""}
    if len(merged) > 50:
        raise StripeRefused(400, "Metadata can have up to 50 keys.", param="metadata")
    for name, value in merged.items():
        if len(name) > 40 or len(value) > 500:
            raise StripeRefused(400, "Metadata key or value is too long.", param="metadata")
    return merged
