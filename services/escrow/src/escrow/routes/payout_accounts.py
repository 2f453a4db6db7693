"""A seller's payout account over HTTP."""

from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from escrow import schemas
from escrow.errors import AccountFrozen, OwnSessionNeeded
from escrow.rails import AskAgain, InDoubt, OnboardingLink, Refused
from escrow.routes.outside import InPerson, Out, Outside
from escrow.use_cases import payout_accounts
from shared import idempotency, problems, telemetry
from shared.errors import Unavailable
from shared.idempotency import OnceIfKeyed

BACK_PATH = "/payouts"
"""Where the provider's page sends the seller back to; returning says nothing, asking again does."""

log = telemetry.get_logger()
router = APIRouter(tags=["payout account"])


def _unavailable(error: Exception) -> Unavailable:
    log.warning("payout_account.provider_refused", reason=str(error)[:300])
    return Unavailable("The payment provider does not answer right now.")


async def _account_of(out: Outside, user_id: UUID) -> str:
    """The id of the user's account, made if need be.

    Raises:
        InDoubt, AskAgain: ask again; the same account will be made.
        Refused: it was not made.
    """
    async with out.sessions.begin() as session:
        known = await payout_accounts.begin(session, user_id, out.settings.environment)
    if isinstance(known, str):
        return known
    intent = known.intent
    assert intent.idem_key is not None
    try:
        account_id = await out.rail.create(intent.kind, intent.params, intent.idem_key)
    except Refused as refusal:
        async with out.sessions.begin() as session:
            await payout_accounts.fail(session, intent.id, refusal.code)
        raise
    async with out.sessions.begin() as session:
        return await payout_accounts.accept(session, intent.id, user_id, account_id)


@router.post(
    "/v1/payout-account",
    response_model=schemas.OnboardingView,
    responses=problems.responses(
        AccountFrozen, OwnSessionNeeded, Unavailable, *idempotency.REFUSALS
    ),
)
async def onboard(
    caller: InPerson,
    out: Out,
    once: OnceIfKeyed,
    _body: schemas.Nothing | None = None,
) -> Response:
    """A page on which the seller becomes payable."""
    try:
        account_id = await _account_of(out, caller.user_id)
        is_payable = await out.rail.is_payable(account_id)
        back_url = f"{out.settings.public_url}{BACK_PATH}"
        link: OnboardingLink = await out.rail.onboarding_link(account_id, back_url)
    except (InDoubt, AskAgain, Refused) as error:
        raise _unavailable(error) from error

    async def command(session: AsyncSession) -> schemas.OnboardingView:
        await payout_accounts.note_payable(session, caller.user_id, is_payable=is_payable)
        return schemas.OnboardingView(
            onboarding_url=link.url, expires_at=link.expires_at, is_payable=is_payable
        )

    return await once(caller.user_id, command, secret=True)


@router.get("/v1/payout-account", responses=problems.responses(OwnSessionNeeded))
async def read_payout_account(caller: InPerson, out: Out) -> schemas.PayoutAccountView:
    """Whether the caller can be paid; what was last known when the provider is away."""
    async with out.sessions() as session:
        account = await payout_accounts.find(session, caller.user_id)
    if account is None or account.account_id is None:
        return schemas.PayoutAccountView(is_payable=False, has_account=False)
    try:
        is_payable = await out.rail.is_payable(account.account_id)
    except (InDoubt, AskAgain, Refused) as error:
        log.warning("payout_account.not_looked_at", reason=str(error)[:300])
        return schemas.PayoutAccountView(is_payable=account.is_payable, has_account=True)
    if is_payable != account.is_payable:
        async with out.sessions.begin() as session:
            await payout_accounts.note_payable(session, caller.user_id, is_payable=is_payable)
    return schemas.PayoutAccountView(is_payable=is_payable, has_account=True)
