"""What documents are made of; plain data, so that the process that asks needs no PDF library."""

import ipaddress
from datetime import datetime
from uuid import UUID

from pydantic import Base64Bytes, BaseModel, ConfigDict

from shared.events.cards import Deal


class Input(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Draft(Input):
    """Everything the document is made of, frozen when the offer was accepted."""

    contract_id: UUID
    root_offer_id: UUID
    deal: Deal
    sign_by: datetime
    template_version: str
    thumbnail: Base64Bytes | None = None
    """The game's picture as a JPEG, remade by `pictures`, if it could be had."""


class Signed(Input):
    """One signature as it was given."""

    role: str
    name: str
    user_id: UUID
    method: str
    signed_at: datetime
    ip: str | None
    user_agent: str | None
    document_sha256: str
    consent_version: str
    wallet_address: str | None = None
    wallet_signature: str | None = None
    """Over the typed data of the same hash (EIP-712)."""


class Happened(Input):
    """One entry of the contract's audit log."""

    at: datetime
    what: str
    user_id: UUID | None
    ip: str | None
    user_agent: str | None = None
    method: str | None = None
    """How a signature was given."""
    document_sha256: str | None = None
    """What was looked at or signed."""


class Certificate(Input):
    contract_id: UUID
    document_sha256: str
    template_version: str
    consent: str
    signatures: list[Signed]
    events: list[Happened]


def network(address: str | None) -> str | None:
    """The network a caller came from: /24 of an IPv4 address, /48 of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))
