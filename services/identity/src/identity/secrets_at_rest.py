"""Encryption of what must not lie readable in a row, and hashes of what need not be known."""

import hashlib
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


def digest(secret: str) -> bytes:
    """For random secrets of 32 bytes a plain SHA-256 cannot be guessed back."""
    return hashlib.sha256(secret.encode()).digest()


class Vault:
    """AES-256-GCM under the hash of the configured key."""

    def __init__(self, key: str) -> None:
        if len(key) < 32:
            raise ValueError("IDENTITY_ENCRYPTION_KEY needs at least 32 characters.")
        self._cipher = AESGCM(hashlib.sha256(key.encode()).digest())

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Encrypt; only `open` with the same purpose reads it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return self._cipher.decrypt(nonce, rest, purpose.encode())
