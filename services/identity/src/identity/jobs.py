"""Identity's leased work: asking Roblox who owns a game, and the end of a verification's day."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from identity import repository, use_cases
from identity.roblox import Roblox, RobloxUnavailable
from shared.deadlines import Expiry
from shared.jobs import Finish, Job, Postpone, Work


def verify_ownership(roblox: Roblox) -> Work[Job]:
    async def perform(job: Job) -> Finish:
        asked = job.payload
        try:
            found = await roblox.ownership(asked["game_id"])
        except RobloxUnavailable as error:
            # Roblox being down says nothing about the owner: it stays PENDING.
            raise Postpone(error.retry_after_seconds) from error
        reason = None
        if found.snapshot is None:
            reason = "Roblox knows no such game."
        elif found.owner_id != asked["roblox_id"]:
            reason = "Your Roblox account is neither the game's creator nor its group's owner."

        async def finish(session: AsyncSession) -> None:
            await use_cases.conclude(
                session, UUID(asked["verification_id"]), asked["version"], found.snapshot, reason
            )

        return finish

    async def give_up(_session: AsyncSession, _job: Job, _error: str) -> None:
        """The row stays PENDING; the user may ask again, which is a new job."""

    return Work(perform, give_up)


VERIFICATION_EXPIRY = Expiry(
    lock=repository.lock_verification, expire=use_cases.expire_verification
)
