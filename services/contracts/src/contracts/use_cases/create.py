"""An accepted offer becomes a contract, exactly one."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.documents.inputs import Draft
from contracts.errors import NoActiveTemplate
from contracts.lifecycle import CONTRACT, ContractStatus, VoidReason
from contracts.models import Contract
from contracts.use_cases.announce import REMINDERS, SIGN_BY, about, clear_deadlines
from shared import audit, clock, deadlines, jobs, outbox
from shared.events.contracts import ContractCreated, ContractVoided
from shared.events.listings import OfferAccepted
from shared.ids import new_id

CREATION = "contract.create"
PICTURE = "contract.picture"
ATTEMPTS = 5
PICTURE_ATTEMPTS = 3


@dataclass(frozen=True)
class StoredDocument:
    url: str
    version_id: str
    sha256: str


async def begin(session: AsyncSession, event: OfferAccepted) -> None:
    """Freeze what the document will be made of, and until when it must be signed.

    Raises:
        NoActiveTemplate: there are no terms to make it of.
    """
    template = await repository.active_template(session)
    if template is None:
        raise NoActiveTemplate
    deal = event.deal
    sign_by = deal.accepted_at + timedelta(seconds=deal.terms.sign_within_seconds)
    draft = Draft(
        contract_id=new_id(),
        root_offer_id=event.root_offer_id,
        deal=deal,
        sign_by=sign_by,
        template_version=template.version,
    )
    if deal.game.thumbnail_url is None:
        is_first = await freeze(session, draft)
    else:
        is_first = await jobs.enqueue(
            session,
            PICTURE,
            f"picture:{event.offer_id}",
            draft.model_dump(mode="json"),
            max_attempts=PICTURE_ATTEMPTS,
        )
    if not is_first:
        return
    await deadlines.set(session, draft.contract_id, SIGN_BY, sign_by)
    now = await clock.now(session)
    for kind, hours in REMINDERS.items():
        due = sign_by - timedelta(hours=hours)
        if due > now:
            await deadlines.set(session, draft.contract_id, kind, due)


async def freeze(session: AsyncSession, draft: Draft) -> bool:
    """Let the document be made; from now on nothing that goes into it changes.

    Returns:
        False when that has been said before.
    """
    return await jobs.enqueue(
        session,
        CREATION,
        f"create:{draft.deal.offer_id}",
        draft.model_dump(mode="json"),
        max_attempts=ATTEMPTS,
    )


async def create(session: AsyncSession, draft: Draft, document: StoredDocument) -> None:
    """The document is stored: from now on the contract can be signed."""
    contract = await _add(
        session,
        draft,
        status=CONTRACT.initial,
        pdf_url=document.url,
        pdf_version_id=document.version_id,
        sha256=document.sha256,
    )
    if contract is None:
        return
    await audit.record(
        session,
        "contract.created",
        "contract",
        contract.id,
        from_=None,
        to=contract.status,
        document_sha256=document.sha256,
    )
    await outbox.record(
        session,
        ContractCreated(
            **about(contract), document_sha256=document.sha256, sign_by=contract.sign_by
        ),
    )


async def give_up(session: AsyncSession, draft: Draft) -> bool:
    """The document cannot be made: the contract is VOID from the start.

    Returns:
        False when there is a contract already.
    """
    contract = await _add(
        session, draft, status=ContractStatus.VOID, void_reason=VoidReason.NOT_CREATED
    )
    if contract is None:
        return False
    await clear_deadlines(session, contract.id)
    await audit.record(
        session,
        "contract.voided",
        "contract",
        contract.id,
        from_=None,
        to=contract.status,
        reason=VoidReason.NOT_CREATED,
    )
    await outbox.record(session, ContractVoided(**about(contract), reason=VoidReason.NOT_CREATED))
    return True


async def _add(session: AsyncSession, draft: Draft, **columns: object) -> Contract | None:
    deal = draft.deal
    return await repository.add(
        session,
        id=draft.contract_id,
        offer_id=deal.offer_id,
        root_offer_id=draft.root_offer_id,
        listing_id=deal.listing_id,
        seller_id=deal.seller.user_id,
        buyer_id=deal.buyer.user_id,
        deal=deal.model_dump(mode="json"),
        roblox_asset_data=deal.game.model_dump(mode="json"),
        template_version=draft.template_version,
        sign_by=draft.sign_by,
        **columns,
    )
