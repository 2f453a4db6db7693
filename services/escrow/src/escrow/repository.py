"""Every query and every lock. The escrow is locked first, then its intents."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from escrow.errors import EscrowNotFound, UnknownIntent
from escrow.lifecycle import DeliveryStatus, EscrowStatus, IntentKind, IntentState
from escrow.milestone_models import Part
from escrow.models import (
    AssetVerification,
    Delivery,
    Escrow,
    Intent,
    PayoutAccount,
    StripeEscrow,
    User,
    WebhookEvent,
)
from shared import database
from shared.clock import clock
from shared.database import driver
from shared.ids import new_id
from shared.jobs import Job, JobStatus


async def escrow(session: AsyncSession, escrow_id: UUID) -> Escrow:
    """Raises: EscrowNotFound."""
    found = await session.get(Escrow, escrow_id)
    if found is None:
        raise EscrowNotFound(escrow_id)
    return found


async def lock(session: AsyncSession, escrow_id: UUID) -> Escrow:
    """The escrow with its row locked until the commit; who holds it decides every race.

    Raises:
        EscrowNotFound: there is none.
    """
    found = await database.lock(session, Escrow, escrow_id)
    if found is None:
        raise EscrowNotFound(escrow_id)
    return found


async def escrow_of_contract(session: AsyncSession, contract_id: UUID) -> Escrow | None:
    return await session.scalar(sa.select(Escrow).where(Escrow.contract_id == contract_id))


async def escrows_of(
    session: AsyncSession,
    user_id: UUID,
    *,
    contract_id: UUID | None,
    status: EscrowStatus | None,
    before: UUID | None,
    limit: int,
) -> Sequence[Escrow]:
    """A party's escrows, newest first."""
    wanted = sa.select(Escrow).where(
        sa.or_(Escrow.buyer_id == user_id, Escrow.seller_id == user_id)
    )
    if contract_id is not None:
        wanted = wanted.where(Escrow.contract_id == contract_id)
    if status is not None:
        wanted = wanted.where(Escrow.status == status)
    if before is not None:
        wanted = wanted.where(Escrow.id < before)
    return (await session.scalars(wanted.order_by(Escrow.id.desc()).limit(limit))).all()


async def intent(session: AsyncSession, intent_id: UUID) -> Intent | None:
    return await session.get(Intent, intent_id, populate_existing=True)


async def lock_intent(session: AsyncSession, intent_id: UUID) -> Intent:
    """Raises: UnknownIntent."""
    found = await database.lock(session, Intent, intent_id)
    if found is None:
        raise UnknownIntent(f"There is no intent {intent_id}.")
    return found


async def intents(
    session: AsyncSession, kind: IntentKind, *, escrow_id: UUID, milestone_id: UUID | None = None
) -> Sequence[Intent]:
    """The tries of one kind for a whole escrow or one milestone, oldest first."""
    return (
        await session.scalars(
            sa.select(Intent)
            .where(Intent.kind == kind, Intent.escrow_id == escrow_id)
            .where(Intent.milestone_id.is_not_distinct_from(milestone_id))
            .order_by(Intent.id)
        )
    ).all()


async def account_intents(session: AsyncSession, user_id: UUID) -> Sequence[Intent]:
    """The tries to make a user's payout account, oldest first."""
    return (
        await session.scalars(
            sa.select(Intent).where(Intent.user_id == user_id).order_by(Intent.id)
        )
    ).all()


async def committed_from(session: AsyncSession, source_id: UUID) -> int:
    """Cents of a payment that have gone out, or may yet."""
    total = await session.scalar(
        sa.select(sa.func.coalesce(sa.func.sum(Intent.amount), 0)).where(
            Intent.source_id == source_id,
            Intent.state.not_in((IntentState.FAILED, IntentState.NOT_EXECUTED)),
        )
    )
    return int(total or 0)


async def returns(session: AsyncSession, source_id: UUID) -> Sequence[Intent]:
    """The tries to send a payment back that fits nothing, oldest first."""
    return (
        await session.scalars(
            sa.select(Intent)
            .where(Intent.source_id == source_id, Intent.kind == IntentKind.RETURN)
            .order_by(Intent.id)
        )
    ).all()


async def stripe_escrow(session: AsyncSession, escrow_id: UUID) -> StripeEscrow | None:
    return await session.scalar(sa.select(StripeEscrow).where(StripeEscrow.escrow_id == escrow_id))


async def deliveries(
    session: AsyncSession, escrow_id: UUID, milestone_id: UUID | None = None
) -> Sequence[Delivery]:
    """What was delivered as a whole, or for one milestone, oldest first."""
    return (
        await session.scalars(
            sa.select(Delivery)
            .where(Delivery.escrow_id == escrow_id)
            .where(Delivery.milestone_id.is_not_distinct_from(milestone_id))
            .order_by(Delivery.id)
        )
    ).all()


_DELIVER = """
INSERT INTO deliveries (id, escrow_id, milestone_id, offer_id, contract_id, title, description,
    status, delivered_at, observed_transfer, created_at, updated_at)
SELECT $1, id, $3, offer_id, contract_id, $4, $5, $6, now, observed_transfer, now, now
FROM escrows, clock() AS now WHERE id = $2
RETURNING delivered_at
"""


async def add_delivery(
    session: AsyncSession, part: Part, title: str, description: str
) -> tuple[UUID, datetime]:
    """Keep what is delivered now, with what has been seen of the game; returns its id and time."""
    delivery_id = new_id()
    delivered_at = await (await driver(session)).fetchval(
        _DELIVER,
        delivery_id,
        part.escrow_id,
        part.milestone_id,
        title,
        description,
        DeliveryStatus.DELIVERED,
    )
    return delivery_id, delivered_at


async def note_transfer(session: AsyncSession, escrow: Escrow) -> None:
    """The game was seen with the buyer: this belongs to all that was delivered."""
    await session.execute(
        sa.update(Delivery)
        .where(Delivery.escrow_id == escrow.id)
        .values(observed_transfer=escrow.observed_transfer)
    )


async def verifications(
    session: AsyncSession, games: Collection[tuple[UUID, str]]
) -> Mapping[tuple[UUID, str], AssetVerification]:
    """The newest checks of several (seller, game), by them."""
    if not games:
        return {}
    place = sa.tuple_(AssetVerification.user_id, AssetVerification.game_id)
    found = await session.scalars(sa.select(AssetVerification).where(place.in_(games)))
    return {(check.user_id, check.game_id): check for check in found}


async def payout_account(session: AsyncSession, user_id: UUID) -> PayoutAccount | None:
    return await session.get(PayoutAccount, user_id)


async def lock_payout_account(session: AsyncSession, user_id: UUID) -> PayoutAccount:
    """The user's row, made if need be, locked until the commit."""
    await session.execute(
        insert(PayoutAccount).values(user_id=user_id, version=1).on_conflict_do_nothing()
    )
    found = await database.lock(session, PayoutAccount, user_id)
    assert found is not None
    return found


async def user(session: AsyncSession, user_id: UUID) -> User | None:
    return await session.get(User, user_id)


async def verification(
    session: AsyncSession, user_id: UUID, game_id: str
) -> AssetVerification | None:
    return await session.get(AssetVerification, (user_id, game_id))


async def keep_user(session: AsyncSession, row: User) -> None:
    """Keep what was said of a person, unless something newer is known."""
    said = insert(User).values(
        id=row.id, name=row.name, is_frozen=row.is_frozen, version=row.version
    )
    await session.execute(
        said.on_conflict_do_update(
            index_elements=[User.id],
            set_={
                "name": said.excluded.name,
                "is_frozen": said.excluded.is_frozen,
                "version": said.excluded.version,
            },
            where=User.version < said.excluded.version,
        )
    )


async def keep_verification(session: AsyncSession, row: AssetVerification) -> None:
    """Keep a check of who owns a game, unless a later one is known."""
    said = insert(AssetVerification).values(
        user_id=row.user_id,
        game_id=row.game_id,
        is_owner=row.is_owner,
        checked_at=row.checked_at,
        version=row.version,
    )
    known = sa.tuple_(AssetVerification.checked_at, AssetVerification.version)
    await session.execute(
        said.on_conflict_do_update(
            index_elements=[AssetVerification.user_id, AssetVerification.game_id],
            set_={
                "is_owner": said.excluded.is_owner,
                "checked_at": said.excluded.checked_at,
                "version": said.excluded.version,
            },
            where=known < sa.tuple_(said.excluded.checked_at, said.excluded.version),
        )
    )


async def keep_webhook(session: AsyncSession, row: WebhookEvent) -> bool:
    """Keep a webhook; False when it was known."""
    kept = await session.execute(
        insert(WebhookEvent)
        .values(
            provider=row.provider,
            event_id=row.event_id,
            type=row.type,
            object_id=row.object_id,
            created=row.created,
            payload=row.payload,
        )
        .on_conflict_do_nothing()
        .returning(WebhookEvent.event_id)
    )
    return kept.scalar_one_or_none() is not None


async def hurry(session: AsyncSession, job_key: str) -> None:
    """Let a job that waits run now."""
    await session.execute(
        sa.update(Job)
        .where(Job.job_key == job_key, Job.status == JobStatus.PENDING)
        .values(run_at=clock())
    )
