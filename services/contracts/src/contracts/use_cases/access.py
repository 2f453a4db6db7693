"""Who may come near a contract."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import repository
from contracts.errors import ContractNotFound
from contracts.models import Contract


@dataclass(frozen=True)
class Reader:
    """Whoever asks: a party sees its own contracts, staff all."""

    user_id: UUID
    is_staff: bool = False

    def has_part_in(self, contract: Contract) -> bool:
        return self.is_staff or self.user_id in contract.parties


async def lock_for(session: AsyncSession, contract_id: UUID, reader: Reader) -> Contract:
    """The locked contract, if the reader has a part in it.

    Raises:
        ContractNotFound: there is none, or it is none of the reader's business.
    """
    contract = await repository.lock(session, contract_id)
    if contract is None or not reader.has_part_in(contract):
        raise ContractNotFound(contract_id)
    return contract


async def get_for(session: AsyncSession, contract_id: UUID, reader: Reader) -> Contract:
    """As `lock_for`, without the lock."""
    contract = await repository.get(session, contract_id)
    if contract is None or not reader.has_part_in(contract):
        raise ContractNotFound(contract_id)
    return contract


def hash_of(token: str) -> str:
    """How a link's secret is kept."""
    return hashlib.sha256(token.encode()).hexdigest()
