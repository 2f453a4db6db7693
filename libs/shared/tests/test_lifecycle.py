"""Lifecycle: exactly the listed moves; a refusal names the state."""

from enum import StrEnum

import pytest

from shared.lifecycle import IllegalMove, Lifecycle


class Door(StrEnum):
    OPEN = "OPEN"
    SHUT = "SHUT"
    GONE = "GONE"


class Act(StrEnum):
    SHUT = "be shut"
    OPEN = "be opened"
    BURN = "burn"


DOOR = Lifecycle(
    "Door",
    initial=Door.OPEN,
    moves={
        (Door.OPEN, Act.SHUT): Door.SHUT,
        (Door.SHUT, Act.OPEN): Door.OPEN,
        (Door.OPEN, Act.BURN): Door.GONE,
    },
)


def test_a_listed_move_leads_to_its_state() -> None:
    assert DOOR.after(Door.OPEN, Act.SHUT) is Door.SHUT


def test_another_move_is_refused_naming_the_state() -> None:
    with pytest.raises(
        IllegalMove, match=r"^Door is SHUT; it cannot burn from there\.$"
    ) as refusal:
        DOOR.after(Door.SHUT, Act.BURN)
    assert refusal.value.extra == {"state": "SHUT"}


def test_a_state_nobody_leaves_is_terminal() -> None:
    assert DOOR.terminal() == {Door.GONE}


def test_the_diagram_shows_every_move() -> None:
    assert DOOR.mermaid().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> OPEN",
        "    OPEN --> SHUT: be shut",
        "    SHUT --> OPEN: be opened",
        "    OPEN --> GONE: burn",
        "    GONE --> [*]",
    ]
