"""Before a trade is paid its two sides may agree to divide it; without agreement it stays whole."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import part_repository, postings, repository
from escrow.errors import (
    NotYourMove,
    PaymentMade,
    PlanAgreed,
    PlanChanged,
    PlanDoesNotFit,
    PlanNotFound,
)
from escrow.lifecycle import MILESTONE, PAYMENT_RANK, EscrowAction, IntentKind, Role
from escrow.milestone_models import MilestoneEscrow, MilestonePlan
from escrow.models import Escrow
from escrow.use_cases import moves
from shared import clock
from shared.ids import new_id


async def propose(
    session: AsyncSession, escrow_id: UUID, user_id: UUID, milestones: Sequence[tuple[str, int]]
) -> MilestonePlan:
    """A side proposes milestones, by title and amount; they replace what was proposed before.

    Raises:
        PlanDoesNotFit: the amounts are not the escrow's, or the fee leaves nothing of one.
        PlanAgreed, PaymentMade: as they say.
        EscrowNotFound, NotYourMove, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await _lock_unpaid(session, escrow_id, user_id)
    amounts = [amount for _, amount in milestones]
    if sum(amounts) != escrow.amount:
        raise PlanDoesNotFit(
            f"milestones: the amounts are {sum(amounts)} cents together; make them {escrow.amount}."
        )
    fees = postings.milestone_fees(amounts, escrow.fee)
    for position, (amount, fee) in enumerate(zip(amounts, fees, strict=True), start=1):
        if fee >= amount:
            raise PlanDoesNotFit(
                f"milestones: the fee leaves the seller nothing of number {position};"
                " make it larger."
            )
    plan = await part_repository.milestone_plan(session, escrow_id)
    if plan is None:
        plan = MilestonePlan(escrow_id=escrow_id, version=0)
        session.add(plan)
    plan.version += 1
    plan.proposed_by = user_id
    plan.milestones = [{"title": title, "amount": amount} for title, amount in milestones]
    await moves.note(session, escrow, "escrow.milestones_proposed", plan=plan.version)
    await session.flush()
    return plan


async def accept(session: AsyncSession, escrow_id: UUID, user_id: UUID, version: int) -> Escrow:
    """The other side agrees to exactly this proposal: the trade is divided for good.

    Raises:
        PlanNotFound, PlanChanged, PlanAgreed, PaymentMade: as they say.
        NotYourMove: the caller has proposed it.
        EscrowNotFound, AccountFrozen, MoneyIsMoving, IllegalMove: see `lock_for`.
    """
    escrow = await _lock_unpaid(session, escrow_id, user_id)
    plan = await part_repository.milestone_plan(session, escrow_id)
    if plan is None:
        raise PlanNotFound
    if plan.proposed_by == user_id:
        other = Role.SELLER if user_id == escrow.buyer_id else Role.BUYER
        raise NotYourMove("accept this proposal", (other.value,))
    if plan.version != version:
        raise PlanChanged(escrow.status.value, plan.version)
    plan.agreed_at = await clock.now(session)
    escrow.is_divided = True
    await moves.note(session, escrow, "escrow.milestones_agreed", plan=version)
    fees = postings.milestone_fees([one["amount"] for one in plan.milestones], escrow.fee)
    divided = [
        MilestoneEscrow(
            id=new_id(),
            escrow=escrow,
            position=position,
            title=one["title"],
            amount=one["amount"],
            fee=fee,
            status=MILESTONE.initial,
            version=0,
        )
        for position, (one, fee) in enumerate(zip(plan.milestones, fees, strict=True), start=1)
    ]
    session.add_all(divided)
    for milestone in divided:
        await moves.note(session, milestone, "escrow.milestone_opened")
        await session.flush()
        await moves.tell_of_milestone(session, milestone)
    return escrow


async def _lock_unpaid(session: AsyncSession, escrow_id: UUID, user_id: UUID) -> Escrow:
    escrow = await moves.lock_for(session, escrow_id, EscrowAction.PLAN, user_id)
    if escrow.is_divided:
        raise PlanAgreed(escrow.status.value)
    for payment in await repository.intents(session, IntentKind.FUND, escrow_id=escrow.id):
        rank = PAYMENT_RANK.get(payment.provider_status or "", -1)
        if rank >= PAYMENT_RANK["processing"] and payment.provider_status != "canceled":
            raise PaymentMade(escrow.status.value)
    return escrow
