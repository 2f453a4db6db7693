"""The certificate of signatures: who signed, when, how, from where and over which hash."""

from typing import Any
from uuid import UUID

from contracts.documents.contract import moment
from contracts.documents.inputs import Certificate, Happened, Signed, network
from contracts.documents.page import Block, Facts, Heading, Note, Title, Told

LONGEST_AGENT = 120
"""Characters of a user agent in a line; audit.json has all."""
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
        *(Facts([f"{s.role}: ", s.name], _signature(s)) for s in certificate.signatures),
        Note(f"Each party agreed to this: {certificate.consent}"),
        Heading("Course of events"),
        Facts(None, [(moment(event.at), _event(event, names)) for event in certificate.events]),
        Heading("How to check"),
        Note(
            "The attached file audit.json holds the same facts for machines. The seal on this file"
            " covers every byte of it; any later change breaks it. Cut to the length given above,"
            " the file is the document that was signed. Times are those of the platform's clock."
            " Network addresses are shortened. A hash is named in full in audit.json."
        ),
    ]


def _signature(signature: Signed) -> list[Told]:
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


def _wallet(signature: Signed) -> list[Told]:
    if signature.wallet_address is None:
        return []
    return [("Wallet, signed too", f"{signature.wallet_address} (EIP-712, in audit.json)")]


def _event(event: Happened, names: dict[UUID, str]) -> list[str]:
    """The platform's words and people's own, by turns."""
    who = names.get(event.user_id, str(event.user_id)) if event.user_id else "the platform"
    how = f", {_METHODS[event.method]}" if event.method else ""
    if origin := network(event.ip):
        how += f", from {origin}"
    said = [f"{_EVENTS.get(event.what, event.what)}: ", who, how]
    if event.user_agent:
        said[-1] += ", with "
        said += [event.user_agent[:LONGEST_AGENT], ""]
    if event.document_sha256:
        said[-1] += f", SHA-256 {event.document_sha256[:16]}\u2026"
    return said


def audit(certificate: Certificate, *, document_bytes: int) -> dict[str, Any]:
    """The content of `audit.json`."""
    said = certificate.model_dump(mode="json")
    for record in (*said["signatures"], *said["events"]):
        record["network"] = network(record.pop("ip"))
    return {"format": "bloxtr8.audit.1", "document_bytes": document_bytes, **said}
