"""One simulated call: its parameters, as the SDK types them, and what answers it.

A parameter that Stripe knows but this simulator would ignore is refused, not swallowed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulators.state import Record
from simulators.stripe.wire import StripeRefused, is_within, merge_metadata, page
from simulators.stripe.world import PLATFORM, StripeWorld


@dataclass(frozen=True)
class Call:
    """One request that has been let in."""

    params: dict[str, Any]
    path: dict[str, str]
    account: str

    @property
    def id(self) -> str:
        return self.path["id"]


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    params: type
    run: Callable[[Call], Record]
    honours: str
    """The parameters that have an effect here, by name."""
    also: dict[str, Any] = field(default_factory=dict)
    """Parameters that the SDK does not send but a browser does."""
    for_browsers: bool = False
    """Also with a publishable key and the object's client secret."""
    of_accounts: bool = False
    """Also on behalf of a connected account."""


PAGE = "limit starting_after ending_before expand"
_UPDATES = "metadata description expand"
_EXPANDABLE = frozenset(
    {
        "balance_transaction",
        "charge",
        "data",
        "destination",
        "latest_charge",
        "payment_intent",
        "source",
        "source_transaction",
        "transfer",
    }
)


def check(endpoint: Endpoint, call: Call) -> None:
    """Refuse what the simulator would have to ignore."""
    ignored = set(call.params) - set(endpoint.honours.split()) - set(endpoint.also)
    if ignored:
        name = min(ignored)
        raise StripeRefused(400, f"The simulator does not do {name}.", param=name)
    for path in call.params.get("expand", []):
        if not _EXPANDABLE.issuperset(path.split(".")):
            raise StripeRefused(400, f"This property cannot be expanded ({path}).", param="expand")
    if call.account != PLATFORM and not endpoint.of_accounts:
        raise StripeRefused(400, "The simulator does not do this for connected accounts.")


def retrieve(world: StripeWorld, path: str, kind: str, params: type) -> Endpoint:
    return Endpoint(
        "GET",
        f"{path}/{{id}}",
        params,
        lambda call: world.seen(world.get(kind, call.id)),
        "expand",
    )


def update(world: StripeWorld, path: str, kind: str, params: type) -> Endpoint:
    def update(call: Call) -> Record:
        thing = world.get(kind, call.id)
        thing["metadata"] = merge_metadata(thing["metadata"], call.params.get("metadata"))
        if "description" in call.params:
            thing["description"] = call.params["description"] or None
        return world.put(thing)

    return Endpoint("POST", f"{path}/{{id}}", params, update, _UPDATES)


def listing(world: StripeWorld, path: str, kind: str, params: type, filters: str) -> Endpoint:
    names = tuple(name for name in filters.split() if name != "created")

    def listed(call: Call) -> Record:
        found = [t for t in reversed(world.all(kind)) if fits(t, call.params, names)]
        return page(found, call.params, path)

    return Endpoint("GET", path, params, listed, f"{filters} {PAGE}")


def fits(thing: Record, params: dict[str, Any], names: tuple[str, ...]) -> bool:
    return is_within(thing["created"], params.get("created")) and all(
        thing.get(name) == params[name] for name in names if name in params
    )
