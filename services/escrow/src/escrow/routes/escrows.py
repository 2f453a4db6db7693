"""Escrows over HTTP: read, pay, deliver, confirm, refund, cancel, and the ledger."""

from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import book_repository, evidence_repository, part_repository, repository, schemas
from escrow.errors import (
    AccountFrozen,
    AlreadyConfirmed,
    CancelNotOpen,
    EscrowNotFound,
    EvidenceAttached,
    EvidenceNotFound,
    EvidenceNotReady,
    IsDivided,
    MoneyIsMoving,
    NotYourMove,
    OnHold,
    OwnershipLost,
    OwnershipUnconfirmed,
    OwnSessionNeeded,
    PaymentInReview,
    PaymentOverdue,
    RailNotOpen,
    ReclaimNotOpen,
    SellerStillWaited,
)
from escrow.lifecycle import EscrowStatus
from escrow.models import Escrow
from escrow.rails import AskAgain, InDoubt, Refused
from escrow.routes.outside import InPerson, Out, Outside
from escrow.use_cases import held_long, moves, opening, paying, settling, silence
from shared import idempotency, problems
from shared.auth import Caller, Principal
from shared.errors import Unavailable
from shared.idempotency import Once
from shared.lifecycle import IllegalMove
from shared.money import Currency
from shared.transactions import Transaction
from shared.web import Page, PageParams, decode_cursor, encode_cursor

PREPARING_SECONDS = 1
COMMAND = (
    EscrowNotFound,
    NotYourMove,
    AccountFrozen,
    OwnSessionNeeded,
    OnHold,
    IsDivided,
    MoneyIsMoving,
    IllegalMove,
    *idempotency.REFUSALS,
)
ATTACHING = (EvidenceNotFound, EvidenceNotReady, EvidenceAttached)
Body = schemas.Nothing | None

router = APIRouter(tags=["escrows"])


class _Ready(Exception):
    """The payment exists: what was begun for the preparing answer is rolled back."""

    def __init__(self, payment_id: str, amount: int, currency: Currency) -> None:
        super().__init__(payment_id)
        self.payment_id = payment_id
        self.amount = amount
        self.currency = currency


async def _views(session: AsyncSession, escrows: Sequence[Escrow]) -> list[schemas.EscrowView]:
    await session.flush()  # the answer tells when the row was written
    deliveries = await evidence_repository.deliveries(session, [escrow.id for escrow in escrows])
    divided = await part_repository.milestones(
        session, [escrow.id for escrow in escrows if escrow.is_divided]
    )
    unpaid = [escrow for escrow in escrows if escrow.status is EscrowStatus.AWAIT_FUNDS]
    checks = await repository.verifications(session, [(e.seller_id, e.game_id) for e in unpaid])
    owners = {
        escrow.id: moves.ownership_by(checks.get((escrow.seller_id, escrow.game_id)), escrow)
        for escrow in unpaid
    }
    return [
        schemas.EscrowView.of(
            escrow, deliveries[escrow.id], owners.get(escrow.id), divided.get(escrow.id, [])
        )
        for escrow in escrows
    ]


async def view(session: AsyncSession, escrow: Escrow) -> schemas.EscrowView:
    [view] = await _views(session, [escrow])
    return view


@router.get("/v1/escrows")
async def list_escrows(
    session: Transaction,
    caller: Caller,
    page: PageParams,
    contract_id: UUID | None = None,
    status: EscrowStatus | None = None,
) -> Page[schemas.EscrowView]:
    """The caller's escrows, newest first."""
    before = decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    found = await repository.escrows_of(
        session,
        caller.user_id,
        contract_id=contract_id,
        status=status,
        before=before,
        limit=page.limit + 1,
    )
    shown = found[: page.limit]
    return Page(
        items=await _views(session, shown),
        next_cursor=encode_cursor(shown[-1].id) if len(found) > page.limit else None,
    )


@router.get("/v1/escrows/{escrow_id}", responses=problems.responses(EscrowNotFound))
async def read_escrow(escrow_id: UUID, session: Transaction, caller: Caller) -> schemas.EscrowView:
    escrow = await opening.find(session, escrow_id, caller.user_id, is_staff=caller.is_staff)
    return await view(session, escrow)


@router.get("/v1/escrows/{escrow_id}/ledger", responses=problems.responses(EscrowNotFound))
async def read_ledger(escrow_id: UUID, session: Transaction, caller: Caller) -> schemas.LedgerView:
    """Every movement of this escrow's money, in the order it was posted."""
    await opening.find(session, escrow_id, caller.user_id, is_staff=caller.is_staff)
    return schemas.LedgerView.of(await book_repository.ledger(session, escrow_id))


@router.post(
    "/v1/escrows/{escrow_id}/payment",
    response_model=schemas.PaymentReady,
    responses={
        202: {"model": schemas.PaymentPreparing},
        **problems.responses(
            *COMMAND,
            OwnershipUnconfirmed,
            OwnershipLost,
            PaymentOverdue,
            PaymentInReview,
            RailNotOpen,
            Unavailable,
        ),
    },
)
async def pay(
    escrow_id: UUID, caller: InPerson, out: Out, once: Once, _body: Body = None
) -> Response:
    """What the buyer pays with; 202 while it is being prepared."""

    async def prepare(session: AsyncSession) -> schemas.PaymentPreparing:
        escrow, payment_id = await paying.prepare_payment(session, escrow_id, caller.user_id)
        return _preparing(escrow, payment_id)

    try:
        answer = await once(caller.user_id, prepare, status=202)
    except _Ready as ready:
        return await _hand_over(caller, out, once, ready)
    answer.headers["Retry-After"] = str(PREPARING_SECONDS)
    return answer


def _preparing(escrow: Escrow, payment_id: str | None) -> schemas.PaymentPreparing:
    """Raises: _Ready."""
    if payment_id is not None:
        raise _Ready(payment_id, escrow.amount, escrow.currency)
    return schemas.PaymentPreparing()


async def _hand_over(caller: Principal, out: Outside, once: Once, ready: _Ready) -> Response:
    """Fetch the client secret, with no transaction open, and answer with it once."""
    try:
        secret = await out.rail.client_secret(ready.payment_id)
    except (InDoubt, AskAgain, Refused) as error:
        raise Unavailable("The payment provider does not answer right now.") from error

    async def payment(_session: AsyncSession) -> schemas.PaymentReady:
        return schemas.PaymentReady(
            client_secret=secret,
            payment_intent_id=ready.payment_id,
            amount=ready.amount,
            currency=ready.currency,
        )

    return await once(caller.user_id, payment, secret=True)


@router.post(
    "/v1/escrows/{escrow_id}/deliver",
    response_model=schemas.EscrowView,
    responses=problems.responses(*COMMAND, *ATTACHING),
)
async def deliver(escrow_id: UUID, body: schemas.Deliver, caller: InPerson, once: Once) -> Response:
    """The seller has handed the game over."""

    async def command(session: AsyncSession) -> schemas.EscrowView:
        escrow = await settling.deliver(
            session,
            escrow_id,
            caller.user_id,
            title=body.title,
            description=body.description,
            evidence_ids=body.evidence_ids,
        )
        return await view(session, escrow)

    return await once(caller.user_id, command)


@router.post(
    "/v1/escrows/{escrow_id}/confirm",
    response_model=schemas.EscrowView,
    responses=problems.responses(*COMMAND, AlreadyConfirmed),
)
async def confirm(escrow_id: UUID, caller: InPerson, once: Once, _body: Body = None) -> Response:
    """The buyer has the game; the seller is paid."""

    async def command(session: AsyncSession) -> schemas.EscrowView:
        return await view(session, await settling.confirm(session, escrow_id, caller.user_id))

    return await once(caller.user_id, command)


@router.post(
    "/v1/escrows/{escrow_id}/refund",
    response_model=schemas.EscrowView,
    responses=problems.responses(*COMMAND, SellerStillWaited),
)
async def refund(escrow_id: UUID, body: schemas.Refund, caller: InPerson, once: Once) -> Response:
    """The seller or staff give the money back before anything was delivered; staff also when the
    seller could not be paid for 80 days.
    """

    async def command(session: AsyncSession) -> schemas.EscrowView:
        escrow = await held_long.refund(
            session, escrow_id, caller.user_id, is_staff=caller.is_staff, reason=body.reason
        )
        return await view(session, escrow)

    return await once(caller.user_id, command)


@router.post(
    "/v1/escrows/{escrow_id}/cancel",
    response_model=schemas.EscrowView,
    responses=problems.responses(*COMMAND, CancelNotOpen, ReclaimNotOpen),
)
async def cancel(escrow_id: UUID, caller: InPerson, once: Once, _body: Body = None) -> Response:
    """The buyer leaves: before paying when the seller has lost the game, later when nothing was
    delivered in time.
    """

    async def command(session: AsyncSession) -> schemas.EscrowView:
        return await view(session, await silence.leave(session, escrow_id, caller.user_id))

    return await once(caller.user_id, command)
