"""State machines as data: which action leads from which state to which; nothing else moves rows."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from shared.errors import Conflict

State = TypeVar("State", bound=StrEnum)
Action = TypeVar("Action", bound=StrEnum)


class IllegalMove(Conflict):
    code = "illegal-move"
    title = "The current state forbids this"

    def __init__(self, thing: str, state: StrEnum, action: StrEnum) -> None:
        super().__init__(
            f"{thing} is {state.value}; it cannot {action.value} from there.", state=state.value
        )


class Lifecycle(Generic[State, Action]):
    """The legal moves of one kind of thing."""

    def __init__(
        self, thing: str, *, initial: State, moves: Mapping[tuple[State, Action], State]
    ) -> None:
        self.thing = thing
        self.initial = initial
        self.moves = dict(moves)

    def allows(self, state: State, action: Action) -> bool:
        return (state, action) in self.moves

    def after(self, state: State, action: Action) -> State:
        """The state that `action` leads to.

        Raises:
            IllegalMove: `action` is not open in `state`; the error names the state.
        """
        try:
            return self.moves[state, action]
        except KeyError:
            raise IllegalMove(self.thing, state, action) from None

    def terminal(self) -> frozenset[State]:
        """States that no action leaves."""
        every = {self.initial, *self.moves.values()}
        return frozenset(every - {state for state, _ in self.moves})

    def mermaid(self) -> str:
        """The diagram that a service's README shows."""
        arrows = [f"    {a.value} --> {b.value}: {act.value}" for (a, act), b in self.moves.items()]
        ends = [f"    {state.value} --> [*]" for state in sorted(self.terminal())]
        return "\n".join(["stateDiagram-v2", f"    [*] --> {self.initial.value}", *arrows, *ends])
