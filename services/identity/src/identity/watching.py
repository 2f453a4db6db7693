"""Watches the game of a paid trade until it is seen with the buyer, and says so once."""

from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from identity import repository
from identity.roblox import Roblox, RobloxUnavailable
from identity.use_cases import ROBLOX
from shared import audit, clock, jobs, outbox, telemetry
from shared.database import Sessions
from shared.events.escrow import EscrowFunded
from shared.events.identity import AssetTransferObserved
from shared.jobs import Finish, Job, JobStatus, Postpone, Work

WATCH_JOB = "watch_transfer"
WATCH_FOR = timedelta(days=90)
FRESH_FOR = timedelta(days=1)
FRESH_EVERY_SECONDS = 60
OLD_EVERY_SECONDS = 900

log = telemetry.get_logger()


async def begin(session: AsyncSession, event: EscrowFunded) -> None:
    """Watch the game from now on."""
    asked = {"escrow_id": event.escrow_id, "root_offer_id": event.root_offer_id}
    payload = {name: str(value) for name, value in asked.items()}
    payload |= {"buyer_id": str(event.buyer_id), "game_id": event.game_id}
    await jobs.enqueue(session, WATCH_JOB, _key(event.escrow_id), payload)


async def end(session: AsyncSession, escrow_id: UUID) -> None:
    """The trade is over: nobody need know any more."""
    await session.execute(
        sa.delete(Job).where(Job.job_key == _key(escrow_id), Job.status == JobStatus.PENDING)
    )


def _key(escrow_id: UUID) -> str:
    return f"{WATCH_JOB}:{escrow_id}"


async def _nothing(_session: AsyncSession) -> None:
    """There is nothing to write."""


def watch_transfer(sessions: Sessions, roblox: Roblox) -> Work[Job]:
    async def perform(job: Job) -> Finish:
        asked = job.payload
        async with sessions() as session:
            linked = await repository.accounts(session, UUID(asked["buyer_id"]))
            age = await clock.now(session) - job.created_at
        try:
            found = await roblox.ownership(asked["game_id"])
        except RobloxUnavailable as error:
            raise Postpone(error.retry_after_seconds) from error
        snapshot, buyer = found.snapshot, linked.get(ROBLOX)
        if snapshot is None or buyer is None or found.owner_id != buyer.account_id:
            if age > WATCH_FOR:
                return _nothing
            raise Postpone(FRESH_EVERY_SECONDS if age < FRESH_FOR else OLD_EVERY_SECONDS)

        async def finish(session: AsyncSession) -> None:
            said = AssetTransferObserved(
                version=1,
                escrow_id=UUID(asked["escrow_id"]),
                root_offer_id=UUID(asked["root_offer_id"]),
                game_id=asked["game_id"],
                buyer_id=UUID(asked["buyer_id"]),
                creator_id=snapshot.creator_id,
                creator_type=snapshot.creator_type,
                observed_at=await clock.now(session),
            )
            await outbox.record(session, said)
            await audit.record(
                session,
                "transfer.observed",
                "escrow",
                said.escrow_id,
                game=said.game_id,
                creator=said.creator_id,
            )

        return finish

    async def give_up(_session: AsyncSession, job: Job, error: str) -> None:
        """The delivery stays without an observed transfer; people decide."""
        log.error("transfer_watch.gave_up", payload=job.payload, reason=error)

    return Work(perform, give_up)
