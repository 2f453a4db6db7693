"""Parties sign: once each, over the hash of the document they saw."""

import secrets
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.errors import (
    AlreadySigned,
    DocumentDiffers,
    LinkNotUsable,
    MayNotSign,
    SignerNotYetKnown,
    SigningTimeOver,
    WalletDiffers,
)
from contracts.lifecycle import CONTRACT, ContractAction
from contracts.models import Contract, ContractSignToken, Signature, SignatureMethod, User
from contracts.use_cases.access import Reader, hash_of, lock_for
from contracts.use_cases.announce import about, clear_deadlines, move
from contracts.wallets import WalletSignature
from shared import audit, clock, outbox
from shared.events.contracts import ContractSigned
from shared.lifecycle import IllegalMove

LINK_SECONDS = 15 * 60


async def sign(
    session: AsyncSession,
    contract_id: UUID,
    signer_id: UUID,
    document_sha256: str,
    method: SignatureMethod = SignatureMethod.API,
    wallet: WalletSignature | None = None,
) -> Contract:
    """Sign; the last signature sends the contract on to its execution.

    Args:
        session: of the command.
        contract_id: which contract.
        signer_id: a party to it.
        document_sha256: what the signer has read.
        method: how the signer was recognised.
        wallet: a wallet's signature over the same hash, kept beside.

    Raises:
        ContractNotFound: the signer is no party to it.
        MayNotSign: the account is frozen or below TIER_1.
        SignerNotYetKnown: identity has not told of the account yet.
        DocumentDiffers: another document was looked at.
        WalletDiffers: the wallet is not the signer's.
        AlreadySigned: one signature is enough.
        SigningTimeOver: the deadline has passed.
        IllegalMove: the contract is past signing.
    """
    contract = await lock_for(session, contract_id, Reader(signer_id))
    signer = await _check_signer(session, signer_id)
    given = await repository.signatures(session, [contract.id])
    signers = {signature.user_id for signature in given}
    if signer_id in signers:
        raise AlreadySigned(contract.status)
    if not CONTRACT.allows(contract.status, ContractAction.SIGN):
        raise IllegalMove(CONTRACT.thing, contract.status, ContractAction.SIGN)
    now = await clock.now(session)
    if now >= contract.sign_by:
        raise SigningTimeOver(contract.status)
    if document_sha256 != contract.sha256:
        raise DocumentDiffers
    if wallet is not None and wallet.address != (signer.wallet_address or "").lower():
        raise WalletDiffers(wallet.address, signer.wallet_address)
    origin = audit.origin.get()
    session.add(
        Signature(
            user_id=signer_id,
            contract_id=contract.id,
            document_sha256=document_sha256,
            consent_version=contract.template_version,
            signed_at=now,
            ip_address=origin.ip,
            user_agent=origin.user_agent,
            signature_method=method,
            wallet_address=wallet and wallet.address,
            wallet_signature=wallet and wallet.signature,
        )
    )
    if signers | {signer_id} == contract.parties:
        await _complete(session, contract, now, signer_id, method)
    else:
        contract.version += 1
        await audit.record(
            session,
            "contract.part_signed",
            "contract",
            contract.id,
            actor_id=signer_id,
            **_signed(contract, method),
        )
    await session.flush()
    return contract


async def _complete(
    session: AsyncSession,
    contract: Contract,
    now: datetime,
    signer_id: UUID,
    method: SignatureMethod,
) -> None:
    await move(
        session,
        contract,
        ContractAction.SIGN,
        "contract.signed",
        actor_id=signer_id,
        **_signed(contract, method),
    )
    contract.signed_at = now
    await clear_deadlines(session, contract.id)
    assert contract.sha256 is not None
    await outbox.record(
        session,
        ContractSigned(
            **about(contract),
            document_sha256=contract.sha256,
            signed_at=now,
        ),
    )


def _signed(contract: Contract, method: SignatureMethod) -> dict[str, str | None]:
    """What the audit row of a signature says."""
    return {
        "method": method,
        "document_sha256": contract.sha256,
        "consent_version": contract.template_version,
    }


async def _check_signer(session: AsyncSession, signer_id: UUID) -> User:
    user = await repository.user(session, signer_id)
    if user is None:
        raise SignerNotYetKnown
    if user.is_frozen:
        raise MayNotSign("Your account is frozen.")
    if not user.kyc_tier.may_trade:
        raise MayNotSign("Link a Roblox account before you sign.")
    return user


async def make_link(
    session: AsyncSession, contract_id: UUID, user_id: UUID
) -> tuple[str, ContractSignToken]:
    """A secret with which this party can sign on the web; older ones end.

    Raises:
        ContractNotFound: the user is no party to it.
        MayNotSign, SignerNotYetKnown, AlreadySigned, IllegalMove: as for signing.
    """
    contract = await lock_for(session, contract_id, Reader(user_id))
    await _check_signer(session, user_id)
    given = await repository.signatures(session, [contract.id])
    if user_id in {signature.user_id for signature in given}:
        raise AlreadySigned(contract.status)
    if not CONTRACT.allows(contract.status, ContractAction.SIGN):
        raise IllegalMove(CONTRACT.thing, contract.status, ContractAction.SIGN)
    secret = secrets.token_urlsafe(32)
    link = await repository.replace_link(
        session, contract_id, user_id, hash_of(secret), LINK_SECONDS
    )
    await audit.record(session, "contract.link_made", "contract", contract.id)
    return secret, link


async def sign_by_link(
    session: AsyncSession,
    token: str,
    document_sha256: str,
    wallet: WalletSignature | None = None,
) -> Contract:
    """Sign as the user and on the contract that the link was made for; it is then used up.

    Raises:
        LinkNotUsable: it is unknown, used, replaced or too old.
        DomainError: as for `sign`; the link then stays usable.
    """
    link = await repository.use_link(session, hash_of(token))
    if link is None:
        raise LinkNotUsable
    return await sign(
        session, link.contract_id, link.user_id, document_sha256, SignatureMethod.WEB_BASED, wallet
    )
