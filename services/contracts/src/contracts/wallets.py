"""A wallet may sign the document too (EIP-712): proof that needs no trust in the platform."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from contracts.errors import WalletSignatureInvalid

CHAIN_ID = 8453
"""Base, where the platform's wallets live."""
STATEMENT = "I agree to the contract whose document has this SHA-256."
_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
    ],
    "ContractSignature": [
        {"name": "statement", "type": "string"},
        {"name": "documentSha256", "type": "bytes32"},
    ],
}
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Of secp256k1: with every `s` the number `_ORDER - s` makes a signature too; one may count."""


@dataclass(frozen=True)
class WalletSignature:
    """Over a document, by whoever holds the address's key."""

    address: str
    """In lower case."""
    signature: str


def typed_data(document_sha256: str) -> dict[str, Any]:
    """What the wallet signs, for `eth_signTypedData_v4`."""
    return {
        "domain": {"name": "Bloxtr8 contracts", "version": "1", "chainId": CHAIN_ID},
        "types": _TYPES,
        "primaryType": "ContractSignature",
        "message": {"statement": STATEMENT, "documentSha256": f"0x{document_sha256}"},
    }


async def recover(document_sha256: str, signature: str) -> WalletSignature:
    """Who signed the document.

    Raises:
        WalletSignatureInvalid: nobody did, or it is spelt as no wallet spells it.
    """
    signature = signature.lower()
    _check_spelling(bytes.fromhex(signature.removeprefix("0x")))
    # Not in the thread: nothing else may be read in this process while the limit is raised.
    with recursion_limit_kept():
        import eth_account  # noqa: F401, PLC0415 - a second and 30 MiB that few processes need
    address = await asyncio.to_thread(_recover, document_sha256, signature)
    return WalletSignature(address.lower(), signature)


def _check_spelling(signature: bytes) -> None:
    r, s, v = (
        int.from_bytes(signature[:32], "big"),
        int.from_bytes(signature[32:64], "big"),
        signature[64],
    )
    if v not in {27, 28}:
        raise WalletSignatureInvalid("Its last byte is neither 1b nor 1c")
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        raise WalletSignatureInvalid("Its numbers are outside of the curve's order")
    if s > _ORDER // 2:
        raise WalletSignatureInvalid("Its second number is the malleable one (high s)")


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """For the import of eth_account: its py_ecc raises Python's recursion limit to 100,000, with
    which one deeply nested body or token would overflow the stack and end the process.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _recover(document_sha256: str, signature: str) -> str:
    from eth_account import Account  # noqa: PLC0415
    from eth_account.messages import encode_typed_data  # noqa: PLC0415
    from eth_keys.exceptions import BadSignature  # noqa: PLC0415

    message = encode_typed_data(full_message=typed_data(document_sha256))
    try:
        return str(Account.recover_message(message, signature=signature))
    except BadSignature:
        raise WalletSignatureInvalid("No key makes it") from None
