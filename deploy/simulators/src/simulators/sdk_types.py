"""What the stripe package's generated types allow, read from their annotations.

Requests are decoded by the parameter types, answers are checked against the resource types: both
are generated from Stripe's specification of the pinned API version.
"""

import ast
import importlib
import inspect
import sys
import types
from functools import cache
from typing import (
    Any,
    ForwardRef,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
)

from stripe import ListObject, StripeObject
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject

_OPTIONS = frozenset(RequestOptions.__annotations__)


def options_of(annotation: Any, module: str) -> list[Any]:
    """The alternatives of an annotation, with names replaced by what they stand for."""
    if isinstance(annotation, str):
        annotation = ForwardRef(annotation)
    if isinstance(annotation, ForwardRef):
        return options_of(_resolve(annotation.__forward_arg__, module), module)
    origin = get_origin(annotation)
    if origin in {NotRequired, Required}:
        return options_of(get_args(annotation)[0], module)
    if origin in {Union, types.UnionType}:
        return [each for part in get_args(annotation) for each in options_of(part, module)]
    return [annotation]


def _resolve(text: str, module: str) -> Any:
    try:
        return eval(text, dict(vars(sys.modules[module])))  # noqa: S307 - the SDK's own source
    except NameError:
        source, name = _typing_imports(module)[text]
        return getattr(importlib.import_module(source), name)


@cache
def _typing_imports(module: str) -> dict[str, tuple[str, str]]:
    """Names that the module imports for type checkers only: where each comes from."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@cache
def params_of(kind: type) -> dict[str, Any]:
    """The parameters of a call by name, without the SDK's own options."""
    is_call = RequestOptions in getattr(kind, "__orig_bases__", ())
    names = kind.__annotations__.items()
    return {name: hint for name, hint in names if not (is_call and name in _OPTIONS)}


def complaints(kind: Any, value: Any, module: str = "builtins", path: str = "") -> list[str]:
    """What is wrong with a value that should be of this kind; empty when nothing is.

    A value outside the listed ones counts as wrong although the type leaves the list open.
    """
    options = options_of(kind, module)
    if any(get_origin(option) is Literal for option in options):
        options = [option for option in options if option is not str]
    found = [_one(option, value, module, path) for option in options]
    return min(found, key=lambda wrong: (len(wrong), "type" in "".join(wrong)))


def _one(kind: Any, value: Any, module: str, path: str) -> list[str]:
    bare, args = get_origin(kind) or kind, get_args(kind)
    if bare is Literal:
        return [] if value in args else [f"{path}: value {value!r}"]
    if bare is list:
        return _list(args[0], value, module, path)
    if bare is ListObject:
        return _list_object(args[0], value, module, path)
    if isinstance(bare, type) and issubclass(bare, StripeObject):
        return _object(bare, value, path)
    if bare is Any or type(value) is bare:
        return []
    return [f"{path}: type is not {bare.__name__}"]


def _list(item: Any, value: Any, module: str, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: type is no list"]
    return [
        wrong
        for number, each in enumerate(value)
        for wrong in complaints(item, each, module, f"{path}[{number}]")
    ]


def _list_object(item: Any, value: Any, module: str, path: str) -> list[str]:
    if not isinstance(value, dict) or set(value) != {"object", "data", "has_more", "url"}:
        return [f"{path}: type is no list object"]
    return _list(item, value["data"], module, f"{path}.data")


def _object(kind: type, value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: type is no object"]
    if kind is UntypedStripeObject:
        return []
    hints: dict[str, Any] = {
        name: hint
        for name, hint in kind.__annotations__.items()
        if not str(hint).startswith("typing.ClassVar")
    }
    found = [f"{path}.{name}: unknown" for name in value if name not in hints]
    for name, hint in hints.items():
        if name in value:
            found += complaints(hint, value[name], kind.__module__, f"{path}.{name}")
        elif type(None) not in options_of(hint, kind.__module__):
            found.append(f"{path}.{name}: missing")
    return found
