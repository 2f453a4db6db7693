"""The message in the place of a seal (RFC 5652, SignedData), spelt in one way only."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from cryptography.hazmat.asn1 import (
    TLV,
    Explicit,
    Implicit,
    Null,
    SetOf,
    decode_der,
    encode_der,
    sequence,
)
from cryptography.x509 import ObjectIdentifier

_DATA = ObjectIdentifier("1.2.840.113549.1.7.1")
_SIGNED_DATA = ObjectIdentifier("1.2.840.113549.1.7.2")
_SHA256 = ObjectIdentifier("2.16.840.1.101.3.4.2.1")


@sequence
class _Digest:
    algorithm: ObjectIdentifier
    parameters: Null


@sequence
class _Signer:
    version: int
    sid: TLV
    digest_algorithm: _Digest
    signed_attributes: Annotated[SetOf[TLV], Implicit(0)]
    signature_algorithm: TLV
    signature: bytes
    unsigned_attributes: Annotated[SetOf[TLV] | None, Implicit(1)]


@sequence
class _Content:
    kind: ObjectIdentifier


@sequence
class _SignedData:
    version: int
    digest_algorithms: SetOf[_Digest]
    content: _Content
    certificates: Annotated[SetOf[TLV], Implicit(0)]
    signers: SetOf[_Signer]


@sequence
class _Message:
    kind: ObjectIdentifier
    content: Annotated[_SignedData, Explicit(0)]


def spelt(
    *,
    certificates: Iterable[bytes],
    sid: bytes,
    algorithm: bytes,
    signed: Iterable[bytes],
    signature: bytes,
    unsigned: Sequence[bytes] = (),
) -> bytes:
    """The message of these parts, each in DER; `signed` and `unsigned` are attributes."""
    digest = _Digest(algorithm=_SHA256, parameters=Null())
    signer = _Signer(
        version=1,
        sid=_read(sid),
        digest_algorithm=digest,
        signed_attributes=set_of(signed),
        signature_algorithm=_read(algorithm),
        signature=signature,
        unsigned_attributes=set_of(unsigned) if unsigned else None,
    )
    data = _SignedData(
        version=1,
        digest_algorithms=SetOf([digest]),
        content=_Content(kind=_DATA),
        certificates=set_of(certificates),
        signers=SetOf([signer]),
    )
    return encode_der(_Message(kind=_SIGNED_DATA, content=data))


def _read(der: bytes) -> TLV:
    return decode_der(TLV, der)


def set_of(parts: Iterable[bytes]) -> SetOf[TLV]:
    return SetOf([_read(part) for part in parts])
