"""The platform's books over HTTP, for staff: accounts, suspense, differences from Stripe."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import book_repository, schemas
from escrow.book_schemas import DifferenceView, Explain, StatementView, SuspendedView
from escrow.errors import (
    AttributionDoesNotFit,
    MoneyIsMoving,
    NotSuspended,
    OnHold,
    OwnSessionNeeded,
    SuspenseSettled,
)
from escrow.postings import Account
from escrow.routes.escrows import view
from escrow.routes.outside import InPerson
from escrow.use_cases import suspense
from shared import idempotency, problems
from shared.auth import Principal, Staff
from shared.errors import Forbidden
from shared.idempotency import Once
from shared.lifecycle import IllegalMove
from shared.transactions import Transaction
from shared.web import Page, PageParams, decode_cursor, encode_cursor

_COMMAND = (Forbidden, OwnSessionNeeded, NotSuspended, SuspenseSettled, *idempotency.REFUSALS)

router = APIRouter(prefix="/v1/escrow", tags=["books"])


async def _staff_in_person(staff: Staff, _in_person: InPerson) -> Principal:
    return staff


StaffInPerson = Annotated[Principal, Depends(_staff_in_person)]


@router.get("/accounts/{account}", responses=problems.responses(Forbidden))
async def read_account(
    account: Account, session: Transaction, _staff: Staff, page: PageParams
) -> StatementView:
    """A statement of one account of the ledger: entries oldest first, and what they add up to."""
    after = decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    found = await book_repository.statement(session, account, after=after, limit=page.limit + 1)
    shown = found[: page.limit]
    before = await book_repository.balances(session, account, up_to=after) if after else {}
    return StatementView(
        account=account,
        balances=await book_repository.balances(session, account),
        carried_forward=before,
        entries=schemas.LedgerView.of(shown).entries,
        next_cursor=encode_cursor(shown[-1][1].id) if len(found) > page.limit else None,
    )


@router.get("/suspense", responses=problems.responses(Forbidden))
async def list_suspense(
    session: Transaction, _staff: Staff, page: PageParams
) -> Page[SuspendedView]:
    """Payments whose money fits nothing and has not been dealt with, oldest first."""
    after = decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    found = await book_repository.suspended(session, after=after, limit=page.limit + 1)
    shown = found[: page.limit]
    return Page(
        items=[SuspendedView.of(*one) for one in shown],
        next_cursor=encode_cursor(shown[-1][0].id) if len(found) > page.limit else None,
    )


@router.post(
    "/suspense/{payment_id}/attribute",
    response_model=schemas.EscrowView,
    responses=problems.responses(
        *_COMMAND, AttributionDoesNotFit, OnHold, MoneyIsMoving, IllegalMove
    ),
)
async def attribute(payment_id: UUID, body: Explain, staff: StaffInPerson, once: Once) -> Response:
    """The money was the agreed payment of its escrow: it is held from now on."""

    async def command(session: AsyncSession) -> schemas.EscrowView:
        return await view(
            session, await suspense.attribute(session, payment_id, reason=body.reason)
        )

    return await once(staff.user_id, command)


@router.post(
    "/suspense/{payment_id}/return",
    response_model=schemas.EscrowView,
    responses=problems.responses(*_COMMAND),
)
async def give_back(payment_id: UUID, body: Explain, staff: StaffInPerson, once: Once) -> Response:
    """The money goes back to whoever paid it."""

    async def command(session: AsyncSession) -> schemas.EscrowView:
        return await view(
            session, await suspense.give_back(session, payment_id, reason=body.reason)
        )

    return await once(staff.user_id, command)


@router.get("/differences", responses=problems.responses(Forbidden))
async def list_differences(
    session: Transaction, _staff: Staff, page: PageParams, is_open: bool = True
) -> Page[DifferenceView]:
    """Where the ledger and Stripe disagree, or did until it was closed; newest first."""
    before = decode_cursor(page.cursor, 1, UUID)[0] if page.cursor else None
    found = await book_repository.differences(
        session, is_open=is_open, before=before, limit=page.limit + 1
    )
    shown = found[: page.limit]
    return Page(
        items=[DifferenceView.model_validate(one) for one in shown],
        next_cursor=encode_cursor(shown[-1].id) if len(found) > page.limit else None,
    )
