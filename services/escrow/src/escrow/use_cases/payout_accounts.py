"""Where sellers are paid: one connected account a user, asked for under one key."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import part_repository, repository
from escrow.errors import AccountFrozen
from escrow.lifecycle import INTENT, IntentAction, IntentKind
from escrow.models import Intent, PayoutAccount
from escrow.use_cases import intents, moves
from escrow.use_cases.settling import await_payable_key
from shared import audit
from shared.ids import new_id


async def find(session: AsyncSession, user_id: UUID) -> PayoutAccount | None:
    return await repository.payout_account(session, user_id)


async def is_frozen(session: AsyncSession, user_id: UUID) -> bool:
    return await moves.is_frozen(session, user_id)


async def begin(session: AsyncSession, user_id: UUID, environment: str) -> str | intents.Call:
    """The id of the user's account, or the call that makes it.

    Raises:
        AccountFrozen: as it says.
    """
    if await moves.is_frozen(session, user_id):
        raise AccountFrozen
    account = await repository.lock_payout_account(session, user_id)
    if account.account_id is not None:
        return account.account_id
    tries = await repository.account_intents(session, user_id)
    call = await intents.begin_call(session, tries[-1].id, environment) if tries else None
    if call is not None and call.is_open and call.may_post:
        return call
    if call is not None and call.is_open:
        # Past its key's life. If it did make an account, that one stays empty.
        call.intent.state = INTENT.after(call.intent.state, IntentAction.GIVE_UP)
        await session.flush()
    intent = await _write(session, user_id, len(tries) + 1)
    return await intents.begin_call(session, intent.id, environment)


async def _write(session: AsyncSession, user_id: UUID, number: int) -> Intent:
    user = await repository.user(session, user_id)
    intent_id = new_id()
    name = {"display_name": user.name} if user is not None else {}
    intent = Intent(
        id=intent_id,
        kind=IntentKind.ACCOUNT,
        business_key=f"account:{user_id}:{number}",
        user_id=user_id,
        params={
            "configuration": {
                "recipient": {
                    "capabilities": {"stripe_balance": {"stripe_transfers": {"requested": True}}}
                }
            },
            "dashboard": "express",
            "defaults": {
                "responsibilities": {
                    "fees_collector": "application",
                    "losses_collector": "application",
                }
            },
            "metadata": {"intent_id": str(intent_id), "user_id": str(user_id)},
            **name,
        },
    )
    session.add(intent)
    await session.flush()
    return intent


async def accept(session: AsyncSession, intent_id: UUID, user_id: UUID, account_id: str) -> str:
    """Keep the account that was made; returns the one that counts."""
    account = await repository.lock_payout_account(session, user_id)
    if account.account_id is not None:
        return account.account_id
    intent = await repository.lock_intent(session, intent_id)
    intent.state = INTENT.after(intent.state, IntentAction.ACCEPT)
    intent.object_id = account_id
    account.account_id = account_id
    account.version += 1
    await audit.record(session, "payout_account.opened", "payout_account", user_id)
    await session.flush()
    return account_id


async def fail(session: AsyncSession, intent_id: UUID, code: str) -> None:
    """The account was certainly not made; asking again asks anew."""
    intent = await repository.lock_intent(session, intent_id)
    if INTENT.allows(intent.state, IntentAction.FAIL):
        intent.state = INTENT.after(intent.state, IntentAction.FAIL)
        intent.last_error = code


async def note_payable(session: AsyncSession, user_id: UUID, *, is_payable: bool) -> PayoutAccount:
    """Keep whether the account can be paid; payouts that wait for it look at once."""
    account = await repository.lock_payout_account(session, user_id)
    if account.is_payable != is_payable:
        account.is_payable = is_payable
        account.version += 1
        what = "payable" if is_payable else "not_payable"
        await audit.record(session, f"payout_account.{what}", "payout_account", user_id)
        await session.flush()
    if is_payable:
        for part in await part_repository.waiting_for_payout(session, user_id):
            await repository.hurry(session, await await_payable_key(session, part))
    return account
