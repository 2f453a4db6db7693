"""Roblox's public pages on games, groups and thumbnails, and `_sim` for what people do there."""

import struct
import zlib
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Query
from starlette.responses import JSONResponse, Response

from simulators.roblox.world import NAMES, Group, Owner, Universe, World
from simulators.state import Record

BATCH = 50
_PAGE_SIZES = frozenset({10, 25, 50, 100})
Ids = Annotated[str, Query(alias="universeIds")]


def router(world: World, base: str) -> APIRouter:
    routes = APIRouter()

    @routes.get("/games/v1/games")
    async def games(ids: Ids = "") -> Response:
        numbers = _numbers(ids)
        if isinstance(numbers, Response):
            return numbers
        found = [game for game in map(world.details, numbers) if game is not None]
        return JSONResponse({"data": found})

    @routes.get("/games/v2/users/{user_id}/games")
    async def of_user(user_id: int, limit: int = 10, cursor: str = "") -> Response:
        return _page(world, world.created_by("User", user_id), limit, cursor)

    @routes.get("/games/v2/groups/{group_id}/games")
    async def of_group(group_id: int, limit: int = 10, cursor: str = "") -> Response:
        return _page(world, world.created_by("Group", group_id), limit, cursor)

    @routes.get("/develop/v1/universes/{number}")
    async def universe(number: int) -> Response:
        found = world.universe(number)
        if found is None:
            return _error(404, 1, "The requested universe does not exist.")
        return JSONResponse(
            {
                "id": number,
                "name": found.name,
                "description": f"{found.name}: build, trade and grow.",
                "isArchived": False,
                "rootPlaceId": number * 10,
                "isActive": True,
                "privacyType": "Public",
                "creatorType": found.creator_type,
                "creatorTargetId": found.creator_id,
                "creatorName": world.creator_name(found),
                "created": "2023-04-01T12:00:00.000Z",
                "updated": "2026-10-01T12:00:00.000Z",
            }
        )

    @routes.get("/groups/v1/groups/{group_id}")
    async def group(group_id: int) -> Response:
        found = world.group(group_id)
        if found is None:
            return _error(400, 1, "Group is invalid or does not exist.")
        return JSONResponse(
            {
                "id": group_id,
                "name": found.name,
                "description": "",
                "owner": _user(found.owner_id),
                "shout": None,
                "memberCount": found.members,
                "isBuildersClubOnly": False,
                "publicEntryAllowed": True,
                "hasVerifiedBadge": False,
            }
        )

    @routes.get("/groups/v2/users/{user_id}/groups/roles")
    async def roles(user_id: int) -> dict[str, list[Record]]:
        return {"data": [_role(number, group) for number, group in world.groups_of(user_id)]}

    @routes.get("/thumbnails/v1/games/icons")
    async def icons(ids: Ids = "") -> Response:
        numbers = _numbers(ids)
        if isinstance(numbers, Response):
            return numbers
        shown = [
            {
                "targetId": number,
                "state": "Completed",
                "imageUrl": f"{base}/thumbnails/image/{number}.png",
                "version": "TN3",
            }
            for number in numbers
            if world.universe(number)
        ]
        return JSONResponse({"data": shown})

    @routes.get("/thumbnails/image/{number}.png")
    async def image(number: int) -> Response:
        return Response(_png(number), media_type="image/png")

    return routes


def control_router(world: World) -> APIRouter:
    routes = APIRouter(prefix="/_sim")

    @routes.post("/universes", status_code=201)
    async def add(universe: Annotated[Universe, Body()]) -> dict[str, str]:
        return {"id": str(world.add(universe))}

    @routes.post("/universes/{number}/transfer")
    async def transfer(number: int, owner: Annotated[Owner, Body()]) -> Record:
        """A game changes hands and keeps its ids."""
        found = world.universe(number)
        if found is None:
            raise HTTPException(404, "There is no such universe.")
        world.put(number, found.model_copy(update=owner.model_dump()))
        return {"id": str(number), **owner.model_dump()}

    @routes.post("/groups/{group_id}/owner")
    async def give_group(group_id: int, user_id: Annotated[int, Body(embed=True)]) -> Record:
        found = world.group(group_id)
        if found is None:
            raise HTTPException(404, "There is no such group.")
        world.give_group(group_id, found, user_id)
        return {"id": group_id, "owner_id": user_id}

    return routes


def _user(user_id: int) -> dict[str, Any]:
    name = NAMES.get(user_id, "someone")
    return {"userId": user_id, "username": name, "displayName": name, "hasVerifiedBadge": False}


def _role(number: int, group: Group) -> Record:
    return {
        "group": {
            "id": number,
            "name": group.name,
            "memberCount": group.members,
            "hasVerifiedBadge": False,
        },
        "role": {"id": number * 100 + 1, "name": "Owner", "rank": 255},
    }


def _error(status: int, code: int, message: str) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status)


def _numbers(ids: str) -> list[int] | Response:
    """The ids of a batch, or what is wrong with them."""
    parts = [part for part in ids.split(",") if part]
    if not parts:
        return _error(400, 8, "No universe IDs were specified.")
    if len(parts) > BATCH:
        return _error(400, 9, "Too many universe IDs were requested.")
    if not all(part.isdecimal() for part in parts):
        return _error(400, 8, "A universe ID is no number.")
    return [int(part) for part in parts]


def _page(world: World, numbers: list[int], limit: int, cursor: str) -> Response:
    if limit not in _PAGE_SIZES or (cursor and not cursor.isdecimal()):
        return _error(400, 0, "Invalid limit or cursor.")
    first = int(cursor or 0)
    following = first + limit
    return JSONResponse(
        {
            "previousPageCursor": str(max(0, first - limit)) if first else None,
            "nextPageCursor": str(following) if following < len(numbers) else None,
            "data": [world.listed(number) for number in numbers[first:following]],
        }
    )


def _png(number: int) -> bytes:
    """A picture of 8 by 8 pixels in the game's own colour."""
    colour = bytes([47, number * 37 % 256, number * 91 % 256])
    rows = b"".join(b"\x00" + colour * 8 for _ in range(8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image
