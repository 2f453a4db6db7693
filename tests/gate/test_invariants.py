"""The moves that `bloxtr8 verify` allows are those of the services' lifecycles."""

import re
from pathlib import Path
from typing import Any

from contracts.lifecycle import CONTRACT
from escrow.lifecycle import DISPUTE, ESCROW, MILESTONE
from listings.lifecycle import LISTING, OFFER

FILE = Path(__file__).parents[2] / "deploy/postgres/invariants/I19-legal-transition.sql"
LIFECYCLES: dict[str, Any] = {
    "contract": CONTRACT,
    "dispute": DISPUTE,
    "escrow": ESCROW,
    "listing": LISTING,
    "milestone": MILESTONE,
    "offer": OFFER,
}


def test_the_query_allows_exactly_what_the_lifecycles_allow() -> None:
    allowed = re.findall(r"\('(\w+)', '(\w+)', '(\w+)'\)", FILE.read_text())
    moves = {
        (name, before.value, after.value)
        for name, lifecycle in LIFECYCLES.items()
        for (before, _), after in lifecycle.moves.items()
    }
    assert len(allowed) == len(set(allowed))
    assert set(allowed) == moves
