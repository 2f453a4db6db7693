"""The message in the place of a seal (RFC 5652, SignedData), spelt in one way only."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from asn1crypto import cms
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
from pyhanko.sign.general import as_signing_certificate_v2
from pyhanko.sign.signers import SimpleSigner
from pyhanko.sign.timestamps import TimeStamper

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
        signed_attributes=_set(signed),
        signature_algorithm=_read(algorithm),
        signature=signature,
        unsigned_attributes=_set(unsigned) if unsigned else None,
    )
    data = _SignedData(
        version=1,
        digest_algorithms=SetOf([digest]),
        content=_Content(kind=_DATA),
        certificates=_set(certificates),
        signers=SetOf([signer]),
    )
    return encode_der(_Message(kind=_SIGNED_DATA, content=data))


def _read(der: bytes) -> TLV:
    return decode_der(TLV, der)


def _set(parts: Iterable[bytes]) -> SetOf[TLV]:
    return SetOf([_read(part) for part in parts])


class Signer(SimpleSigner):
    """Makes the messages that pyHanko makes, but encodes what all of them have in common once:
    pyHanko's structures take longer to encode than a signature to compute.
    """

    @classmethod
    def of(cls, pkcs12_file: Path, password: str) -> Self:
        """With the key and the certificates of a file.

        Raises:
            ValueError: it holds no key that the password opens.
        """
        loaded = SimpleSigner.load_pkcs12(  # type: ignore[no-untyped-call]
            str(pkcs12_file), passphrase=password.encode()
        )
        if loaded is None:
            raise ValueError(f"{pkcs12_file} holds no key that its password opens.")
        return cls(loaded.signing_cert, loaded.signing_key, loaded.cert_registry)

    async def async_sign(
        self,
        data_digest: bytes,
        digest_algorithm: str,
        dry_run: bool = False,
        *_: Any,
        timestamper: TimeStamper | None = None,
        **__: Any,
    ) -> cms.ContentInfo:
        """As PAdES wants it, over a digest by SHA-256."""
        assert digest_algorithm == "sha256"
        signed = [*self._attributes, _attribute("message_digest", data_digest)]
        told = encode_der(_set(signed))
        signature = await self.async_sign_raw(told, digest_algorithm, dry_run)
        unsigned = await self.unsigned_attrs(
            digest_algorithm,
            signature,
            signed_attrs=cms.CMSAttributes.load(told),
            timestamper=timestamper,
            dry_run=dry_run,
        )
        message = spelt(
            certificates=self._certificates,
            sid=self._sid,
            algorithm=self._algorithm,
            signed=signed,
            signature=signature,
            unsigned=[attribute.dump() for attribute in unsigned or ()],
        )
        return cms.ContentInfo.load(message)

    @cached_property
    def _certificates(self) -> list[bytes]:
        """Its own and those between it and its root, which the seal would not cover."""
        between = (one for one in self.cert_registry if one.self_signed == "no")
        return sorted({one.dump() for one in (self.signing_cert, *between)})

    @cached_property
    def _sid(self) -> bytes:
        own: Any = self.signing_cert
        named = {"issuer": own.issuer, "serial_number": own.serial_number}
        return bytes(cms.IssuerAndSerialNumber(named).dump())

    @cached_property
    def _algorithm(self) -> bytes:
        return bytes(self.get_signature_mechanism_for_digest("sha256").dump())

    @cached_property
    def _attributes(self) -> list[bytes]:
        """Those of PAdES that are the same each time."""
        own = as_signing_certificate_v2(self.signing_cert)
        return [_attribute("content_type", "data"), _attribute("signing_certificate_v2", own)]


def _attribute(kind: str, value: Any) -> bytes:
    return bytes(cms.CMSAttribute({"type": kind, "values": [value]}).dump())
