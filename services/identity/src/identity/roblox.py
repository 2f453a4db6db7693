"""What Roblox publishes about games: who created them, how they are doing."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from identity.settings import Settings
from shared.errors import Unavailable
from shared.events.cards import GameSnapshot

RETRY_SECONDS = 5
BATCH = 50
OWNER_RANK = 255


class RobloxUnavailable(Unavailable):
    code = "roblox-unavailable"
    title = "Roblox does not answer"


@dataclass(frozen=True)
class Ownership:
    """The game and the Roblox users who own it; no snapshot when there is no such game."""

    snapshot: GameSnapshot | None
    owner_id: str | None


class Roblox:
    """The public API; never used while a transaction is open."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(timeout=settings.outside_timeout_seconds)

    async def close(self) -> None:
        await self._http.aclose()

    async def _get(self, url: str, **params: str) -> Any:
        try:
            answer = await self._http.get(url, params=params)
        except httpx.HTTPError as error:
            raise RobloxUnavailable(
                "Roblox does not answer.", retry_after_seconds=RETRY_SECONDS
            ) from error
        if answer.status_code == 429 or answer.status_code >= 500:
            wait = answer.headers.get("Retry-After", "")
            seconds = int(wait) if wait.isdecimal() else RETRY_SECONDS
            raise RobloxUnavailable("Roblox is busy.", retry_after_seconds=max(1, seconds))
        return answer.json() if answer.status_code == 200 else None

    async def ownership(self, game_id: str) -> Ownership:
        """Who owns a game: its creator, or the owner of the group that created it.

        Raises:
            RobloxUnavailable: Roblox is down or refuses for now; says when to ask again.
        """
        games = await self._snapshots([game_id])
        if not games:
            return Ownership(None, None)
        snapshot = games[0]
        if snapshot.creator_type == "User":
            return Ownership(snapshot, snapshot.creator_id)
        groups_url = f"{self._settings.roblox_groups_url}/v1/groups/{snapshot.creator_id}"
        group = await self._get(groups_url)
        owner = (group or {}).get("owner")
        return Ownership(snapshot, str(owner["userId"]) if owner else None)

    async def games_of(self, roblox_id: str) -> list[GameSnapshot]:
        """The games this user may sell: their own and those of groups they own."""
        games_url, groups_url = self._settings.roblox_games_url, self._settings.roblox_groups_url
        own, roles = await asyncio.gather(
            self._get(f"{games_url}/v2/users/{roblox_id}/games", limit="50"),
            self._get(f"{groups_url}/v2/users/{roblox_id}/groups/roles"),
        )
        rows = (roles or {"data": []})["data"]
        owned = [row["group"]["id"] for row in rows if row["role"]["rank"] == OWNER_RANK]
        pages = [own] + [
            await self._get(f"{games_url}/v2/groups/{group}/games", limit="50") for group in owned
        ]
        ids = [str(game["id"]) for page in pages if page for game in page["data"]]
        return await self._snapshots(ids[:BATCH]) if ids else []

    async def _snapshots(self, game_ids: list[str]) -> list[GameSnapshot]:
        ids = ",".join(game_ids)
        details, icons = await asyncio.gather(
            self._get(f"{self._settings.roblox_games_url}/v1/games", universeIds=ids),
            self._get(
                f"{self._settings.roblox_thumbnails_url}/v1/games/icons",
                universeIds=ids,
                size="512x512",
                format="Png",
            ),
        )
        pictures = {
            str(icon["targetId"]): icon["imageUrl"]
            for icon in (icons or {"data": []})["data"]
            if icon.get("state") == "Completed"
        }
        return [
            GameSnapshot(
                game_id=str(game["id"]),
                game_name=game["name"],
                game_description=game.get("description"),
                thumbnail_url=pictures.get(str(game["id"])),
                player_count=game.get("playing"),
                visits=game.get("visits"),
                created_date=game.get("created"),
                creator_id=str(game["creator"]["id"]),
                creator_type=game["creator"]["type"],
                creator_name=game["creator"].get("name"),
                taken_at=datetime.now(UTC),
            )
            for game in (details or {"data": []})["data"]
        ]
