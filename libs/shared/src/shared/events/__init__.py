"""The published language: every event that crosses a service border, and nothing else."""

from shared.events import contracts, escrow, identity, listings
from shared.events.envelope import Envelope, Event

__all__ = ["ALL_EVENTS", "Envelope", "Event", "contracts", "escrow", "identity", "listings"]

ALL_EVENTS: dict[str, type[Event]] = {
    event.topic: event
    for module in (identity, listings, contracts, escrow)
    for event in vars(module).values()
    if isinstance(event, type) and issubclass(event, Event) and "topic" in vars(event)
}
"""Every event by its topic."""
