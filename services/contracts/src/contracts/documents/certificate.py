"""The certificate of signatures: who signed, when, how, from where and over which hash."""

import ipaddress
from typing import Any
from uuid import UUID

from contracts.documents.contract import moment
from contracts.documents.inputs import Certificate, Happened, Signed
from contracts.documents.page import Block, Facts, Heading, Note, Title

_METHODS = {
    "API": "signed in to the platform (API)",
    "WEB_BASED": "on the web, by a link for one use",
    "DISCORD_NATIVE": "in Discord, by typing I AGREE",
}
_EVENTS = {
    "contract.created": "Document made",
    "contract.viewed": "Document opened",
    "contract.link_made": "Link to sign asked for",
    "contract.part_signed": "Signed",
    "contract.signed": "Signed, and thereby complete",
    "contract.execution_failed": "Sealing failed",
    "contract.retried": "Sealing asked for again",
}


def network(address: str | None) -> str | None:
    """The network a caller came from: /24 of an IPv4 address, /48 of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def blocks(certificate: Certificate, *, document_bytes: int) -> list[Block]:
    """The certificate's pages."""
    names = {signature.user_id: signature.name for signature in certificate.signatures}
    return [
        Title("Certificate of Signatures", f"of contract {certificate.contract_id}", []),
        Heading("The signed document"),
        Facts(
            None,
            [
                ("SHA-256", certificate.document_sha256),
                ("Length", f"{document_bytes:,} bytes, the beginning of this file"),
                ("Template version", certificate.template_version),
            ],
        ),
        Heading("Signatures"),
        *(Facts(f"{s.role}: {s.name}", _signature(s)) for s in certificate.signatures),
        Note(f"Each party agreed to this: {certificate.consent}"),
        Heading("Course of events"),
        Facts(None, [(moment(event.at), _event(event, names)) for event in certificate.events]),
        Heading("How to check"),
        Note(
            "The attached file audit.json holds the same facts for machines. The seal on this file"
            " covers every byte of it; any later change breaks it. Cut to the length given above,"
            " the file is the document that was signed. Times are those of the platform's clock."
            " Network addresses are shortened."
        ),
    ]


def _signature(signature: Signed) -> list[tuple[str, str]]:
    return [
        ("Signed", moment(signature.signed_at)),
        ("How", _METHODS[signature.method]),
        ("From", network(signature.ip) or "unknown"),
        ("With", signature.user_agent or "unknown"),
        ("User", str(signature.user_id)),
        ("Over SHA-256", signature.document_sha256),
        ("Consent text", f"of template {signature.consent_version}"),
        *_wallet(signature),
    ]


def _wallet(signature: Signed) -> list[tuple[str, str]]:
    if signature.wallet_address is None:
        return []
    return [("Wallet, signed too", f"{signature.wallet_address} (EIP-712, in audit.json)")]


def _event(event: Happened, names: dict[UUID, str]) -> str:
    who = names.get(event.user_id, str(event.user_id)) if event.user_id else "the platform"
    where = f", from {network(event.ip)}" if network(event.ip) else ""
    return f"{_EVENTS.get(event.what, event.what)}: {who}{where}"


def audit(certificate: Certificate, *, document_bytes: int) -> dict[str, Any]:
    """The content of `audit.json`."""
    said = certificate.model_dump(mode="json")
    for record in (*said["signatures"], *said["events"]):
        record["network"] = network(record.pop("ip"))
    return {"format": "bloxtr8.audit.1", "document_bytes": document_bytes, **said}
