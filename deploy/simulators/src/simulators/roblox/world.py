"""Who is on the simulated Roblox, and who owns which game and group; `_sim` can change it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from simulators.state import Part, Record

USERS = {"sasha_builds": 2001, "blair_plays": 2002, "moss_rbx": 2003, "rin_rbx": 2004}
DISPLAY_NAMES = {2001: "Sasha", 2002: "Blair", 2003: "Moss", 2004: "Rin"}
NAMES = {number: name for name, number in USERS.items()}
FIRST_NEW_UNIVERSE = 10_000
_UNIVERSE, _GROUP = "universe", "group"


class Owner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    creator_type: Literal["User", "Group"]
    creator_id: int


class Universe(Owner):
    name: str
    playing: int = Field(default=1187, ge=0)
    visits: int = Field(default=4_812_345, ge=0)
    favorites: int = Field(default=35_021, ge=0)


class Group(BaseModel):
    name: str
    owner_id: int
    members: int


_UNIVERSES = {
    9001: Universe(name="Skyline Tycoon", creator_type="User", creator_id=2001),
    9002: Universe(
        name="Harbor Heist",
        creator_type="Group",
        creator_id=5001,
        playing=412,
        visits=1_204_771,
        favorites=9_466,
    ),
    9004: Universe(
        name="Rin's Obby",
        creator_type="User",
        creator_id=2004,
        playing=36,
        visits=88_210,
        favorites=1_204,
    ),
}
_GROUPS = {
    5001: Group(name="Skyline Studio", owner_id=2001, members=8_342),
    5002: Group(name="Blair's Games", owner_id=2002, members=127),
}


class World:
    def __init__(self, part: Part) -> None:
        self._part = part

    def universe(self, number: int) -> Universe | None:
        changed = self._part.get(_UNIVERSE, str(number))
        return Universe(**changed) if changed else _UNIVERSES.get(number)

    def group(self, number: int) -> Group | None:
        changed = self._part.get(_GROUP, str(number))
        return Group(**changed) if changed else _GROUPS.get(number)

    def numbers(self) -> list[int]:
        return sorted({*_UNIVERSES, *map(int, self._part.by_id(_UNIVERSE))})

    def created_by(self, kind: str, creator_id: int) -> list[int]:
        """The universes of a user or a group."""
        universes = {number: self.universe(number) for number in self.numbers()}
        return [
            number
            for number, universe in universes.items()
            if universe and (universe.creator_type, universe.creator_id) == (kind, creator_id)
        ]

    def groups_of(self, user_id: int) -> list[tuple[int, Group]]:
        groups = [(number, self.group(number)) for number in _GROUPS]
        return [(number, group) for number, group in groups if group and group.owner_id == user_id]

    def add(self, universe: Universe) -> int:
        number = max(FIRST_NEW_UNIVERSE, self.numbers()[-1] + 1)
        self.put(number, universe)
        return number

    def put(self, number: int, universe: Universe) -> None:
        self._part.put(_UNIVERSE, str(number), universe.model_dump())
        self._part.save()

    def give_group(self, number: int, group: Group, owner_id: int) -> None:
        changed = group.model_copy(update={"owner_id": owner_id})
        self._part.put(_GROUP, str(number), changed.model_dump())
        self._part.save()

    def creator_name(self, universe: Universe) -> str:
        if universe.creator_type == "User":
            return NAMES.get(universe.creator_id, "someone")
        group = self.group(universe.creator_id)
        return group.name if group else "a group"

    def details(self, number: int) -> Record | None:
        """As `/v1/games` shows it."""
        universe = self.universe(number)
        if universe is None:
            return None
        creator = {
            "id": universe.creator_id,
            "name": self.creator_name(universe),
            "type": universe.creator_type,
            "isRNVAccount": False,
            "hasVerifiedBadge": False,
        }
        return _common(number, universe) | {
            "rootPlaceId": number * 10,
            "creator": creator,
            "sourceName": universe.name,
            "sourceDescription": f"{universe.name}: build, trade and grow.",
            "price": None,
            "allowedGearGenres": ["All"],
            "allowedGearCategories": [],
            "isGenreEnforced": False,
            "copyingAllowed": False,
            "playing": universe.playing,
            "visits": universe.visits,
            "maxPlayers": 30,
            "studioAccessToApisAllowed": False,
            "createVipServersAllowed": True,
            "universeAvatarType": "MorphToR15",
            "genre": "All",
            "genre_l1": "Simulation",
            "genre_l2": "Tycoon",
            "isAllGenre": True,
            "isFavoritedByUser": False,
            "favoritedCount": universe.favorites,
        }

    def listed(self, number: int) -> dict[str, Any]:
        """As the lists of a user's or a group's games show it."""
        universe = self.universe(number)
        assert universe is not None
        return _common(number, universe) | {
            "creator": {"id": universe.creator_id, "type": int(universe.creator_type == "Group")},
            "rootPlace": {"id": number * 10, "type": "Place"},
            "placeVisits": universe.visits,
        }


def _common(number: int, universe: Universe) -> dict[str, Any]:
    return {
        "id": number,
        "name": universe.name,
        "description": f"{universe.name}: build, trade and grow.",
        "created": "2023-04-01T12:00:00.000Z",
        "updated": "2026-10-01T12:00:00.000Z",
    }
