"""The key that seals contracts on this machine: a CA of the stack's own and a key below it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from bloxtr8.home import Home


def make(home: Home) -> tuple[Path, Path]:
    """A CA of the stack's own and an ECDSA P-256 sealing key below it, made at first start.

    Returns:
        The PKCS#12 file (its password is the secret `seal`) and the CA's certificate.
    """
    folder = home.folder("seal")
    store, root = folder / "seal.p12", folder / "root.pem"
    if store.exists():
        return store, root
    root_key, seal_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = _name("Bloxtr8 local root")
    root_certificate = _certificate(root_name, root_name, root_key, root_key, is_ca=True)
    certificate = _certificate(
        _name("Bloxtr8 contracts"), root_name, seal_key, root_key, is_ca=False
    )
    root.write_bytes(root_certificate.public_bytes(serialization.Encoding.PEM))
    password = home.secret("seal").encode()
    draft = store.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"seal",
            seal_key,
            certificate,
            [root_certificate],
            serialization.BestAvailableEncryption(password),
        )
    )
    draft.replace(store)
    return store, root


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(issuer_id, False)
        .sign(issuer_key, hashes.SHA256())
    )
