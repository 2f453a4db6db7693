"""Requests are as strict as the SDK's own parameter types say, down to the last level."""

import re
from typing import Any, Literal, cast, get_args, get_origin

from stripe._stripe_object import UntypedStripeObject

from simulators.sdk_types import options_of, params_of
from simulators.stripe.wire import StripeRefused

_INTEGER = re.compile(r"-?\d{1,15}")


def decode(kind: type, raw: Any, path: str = "", also: dict[str, Any] | None = None) -> Any:
    """The parameters of a form or JSON body as Python values; `also` adds parameters by path.

    Raises:
        StripeRefused: one is unknown, missing or not what it should be.
    """
    if not isinstance(raw, dict):
        raise _wrong(path, raw, "object")
    module = kind.__module__
    known = params_of(kind)
    prefix = f"{path}." if path else ""
    extra = {n.removeprefix(prefix): h for n, h in (also or {}).items() if n.startswith(prefix)}
    known = known | {name: hint for name, hint in extra.items() if "." not in name}
    for name in raw:
        if name not in known:
            where = _brackets(prefix + name)
            raise StripeRefused(
                400, f"Received unknown parameter: {where}", code="parameter_unknown", param=where
            )
    for name in sorted(cast("Any", kind).__required_keys__):
        if name in known and name not in raw:
            where = _brackets(prefix + name)
            raise StripeRefused(
                400, f"Missing required param: {where}.", code="parameter_missing", param=where
            )
    return {n: _value(known[n], value, module, prefix + n, also) for n, value in raw.items()}


def _value(hint: Any, raw: Any, module: str, path: str, also: dict[str, Any] | None) -> Any:
    options = options_of(hint, module)
    if any(get_origin(option) is Literal and get_args(option) != ("",) for option in options):
        # The type leaves the list of values open for the future; the server knows its own.
        options = [option for option in options if option is not str]
    refusals = []
    for option in options:
        try:
            return _one(option, raw, module, path, also)
        except StripeRefused as refusal:
            refusals.append(refusal)
    raise max(refusals, key=lambda refusal: len(str(refusal.error["param"])))


def _one(kind: Any, raw: Any, module: str, path: str, also: dict[str, Any] | None) -> Any:
    """The raw value as this kind, which is no alternative of several."""
    bare, args = get_origin(kind) or kind, get_args(kind)
    if hasattr(kind, "__required_keys__"):
        return decode(kind, raw, path, also)
    if bare is list:
        items = list(raw.values()) if isinstance(raw, dict) else raw
        if not isinstance(items, list):
            raise _wrong(path, raw, "array")
        each = enumerate(items)
        return [_value(args[0], item, module, f"{path}.{number}", also) for number, item in each]
    if bare in {dict, UntypedStripeObject}:
        if not isinstance(raw, dict):
            raise _wrong(path, raw, "object")
        pairs = raw.items()
        return {name: _value(args[-1], v, module, f"{path}.{name}", also) for name, v in pairs}
    if bare is Literal:
        if raw not in args:
            raise _wrong(path, raw, f"value, it must be one of {', '.join(map(str, args))}")
        return raw
    return _scalar(kind, raw, path)


def _scalar(kind: Any, raw: Any, path: str) -> Any:
    """Forms send everything as text."""
    if kind is int and (type(raw) is int or (isinstance(raw, str) and _INTEGER.fullmatch(raw))):
        return int(raw)
    if kind is bool and (type(raw) is bool or raw in ("true", "false")):
        return raw in (True, "true")
    if kind is Any or type(raw) is kind:
        return raw
    raise _wrong(path, raw, getattr(kind, "__name__", "value"))


def _wrong(path: str, raw: Any, expected: str) -> StripeRefused:
    where = _brackets(path)
    if expected == "int":
        message, code = f"Invalid integer: {raw}", "parameter_invalid_integer"
    elif raw == "":
        message, code = f"You passed an empty string for '{where}'.", "parameter_invalid_empty"
    else:
        message, code = f"Invalid {where}: {raw!r} is no valid {expected.lower()}", None
    return StripeRefused(400, message, code=code, param=where)


def _brackets(path: str) -> str:
    head, *rest = path.split(".")
    return head + "".join(f"[{part}]" for part in rest)
