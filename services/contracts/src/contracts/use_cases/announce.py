"""Moves of a contract, told to the audit log and to other services."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.lifecycle import CONTRACT, ContractAction, VoidReason
from contracts.models import Contract
from shared import audit, deadlines, outbox
from shared.events.contracts import ContractVoided

SIGN_BY = "sign_by"
REMINDERS = {"signature_due_48h": 48, "signature_due_24h": 24}
"""Deadlines by kind: hours before the end at which those who have not signed are reminded."""


def about(contract: Contract) -> dict[str, Any]:
    """What every event says of its contract."""
    return {
        "version": contract.version,
        "contract_id": contract.id,
        "offer_id": contract.offer_id,
        "root_offer_id": contract.root_offer_id,
        "listing_id": contract.listing_id,
        "seller_id": contract.seller_id,
        "buyer_id": contract.buyer_id,
    }


async def move(
    session: AsyncSession,
    contract: Contract,
    action: ContractAction,
    done: str,
    *,
    actor_id: UUID | None = None,
    **details: Any,
) -> None:
    """Take a locked contract to the state the action leads to.

    Raises:
        IllegalMove: the action is not open in its state.
    """
    before = contract.status
    contract.status = CONTRACT.after(before, action)
    contract.version += 1
    await audit.record(
        session,
        done,
        "contract",
        contract.id,
        actor_id=actor_id,
        from_=before,
        to=contract.status,
        **details,
    )


async def clear_deadlines(session: AsyncSession, contract_id: UUID) -> None:
    """Nobody has to sign any more."""
    for kind in (SIGN_BY, *REMINDERS):
        await deadlines.clear(session, contract_id, kind)


async def end(
    session: AsyncSession,
    contract: Contract,
    action: ContractAction,
    reason: VoidReason,
    *,
    actor_id: UUID | None = None,
    note: str | None = None,
) -> None:
    """Make a locked contract VOID for good.

    Raises:
        IllegalMove: the action is not open in its state.
    """
    await move(session, contract, action, "contract.voided", actor_id=actor_id, reason=reason)
    contract.void_reason, contract.note = reason, note
    await clear_deadlines(session, contract.id)
    await outbox.record(session, ContractVoided(**about(contract), reason=reason))
