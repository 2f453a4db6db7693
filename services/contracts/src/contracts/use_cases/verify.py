"""What a file is that somebody holds: one of our documents, a changed one, or none of ours."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.documents.examine import Examined, SealState
from contracts.models import Contract


class Verdict(StrEnum):
    SEALED_AND_CURRENT = "SEALED_AND_CURRENT"
    """The very file that we keep as the executed contract."""
    NOT_CURRENT = "NOT_CURRENT"
    """Sealed by us, and not the copy that counts."""
    UNSEALED = "UNSEALED"
    """The document as it was given to be signed: proof of its words, not of signatures."""
    APPENDED = "APPENDED"
    """Something was added after sealing."""
    ALTERED = "ALTERED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Verified:
    verdict: Verdict
    reason: str
    contract: Contract | None = None
    """The contract that the file is, or was made from."""


async def verify(session: AsyncSession, found: Examined) -> Verified:
    """Compare what was found in a file with our records."""
    contract = await repository.by_document(session, found.hashes)
    if contract is not None and found.hashes[0] == contract.sha256:
        return Verified(
            Verdict.UNSEALED, "This is the document to sign, without signatures or seal.", contract
        )
    if found.seal is SealState.HOLDS:
        if contract is None:
            return Verified(Verdict.UNKNOWN, "Our seal holds, but no contract has this document.")
        if found.hashes[0] == contract.sealed_sha256:
            return Verified(Verdict.SEALED_AND_CURRENT, found.reason, contract)
        return Verified(
            Verdict.NOT_CURRENT, "Our seal holds, but this is not the copy that we keep.", contract
        )
    verdicts = {SealState.APPENDED: Verdict.APPENDED, SealState.BROKEN: Verdict.ALTERED}
    return Verified(verdicts.get(found.seal, Verdict.UNKNOWN), found.reason, contract)
