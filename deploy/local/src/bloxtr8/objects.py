"""The S3 server (SeaweedFS) with a key per service, and the key that seals contracts."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from bloxtr8.home import Home

BUCKET = "contracts"
REGION = "us-east-1"
LOCK_DAYS = 1
"""Locally a contract is undeletable for a day; production sets years."""
_GRANTS = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "contracts": [f"{action}:{BUCKET}" for action in ("Read", "Write", "List", "Tagging")],
    "escrow": [f"{action}:{BUCKET}" for action in ("Read", "List")],
}


def endpoint(home: Home) -> str:
    return os.environ.get("S3_ENDPOINT_URL") or f"http://127.0.0.1:{home.ports['s3']}"


def keys(home: Home, name: str) -> tuple[str, str]:
    """Access key and secret of one login; on an S3 of one's own all use the one key given."""
    if os.environ.get("S3_ENDPOINT_URL"):
        return os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"]
    return f"DEV{name.upper()}", home.secret(f"s3_{name}")


def arguments(home: Home, weed: str) -> list[str]:
    folder = home.folder("s3")
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": keys(home, name)[0], "secretKey": keys(home, name)[1]}],
            "actions": actions,
        }
        for name, actions in _GRANTS.items()
    ]
    Home.write_private(folder / "s3.json", json.dumps({"identities": identities}))
    jwt = home.secret("s3_jwt")
    sections = ("signing", "signing.read", "filer_signing", "filer_signing.read")
    Home.write_private(
        folder / "security.toml", "".join(f'[jwt.{name}]\nkey = "{jwt}"\n' for name in sections)
    )
    ports = home.ports
    return [
        *(weed, "-logtostderr", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-s3.port={ports['s3']}", f"-master.port={ports['s3_master']}"),
        *(f"-volume.port={ports['s3_volume']}", f"-filer.port={ports['s3_filer']}"),
        *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        # The filer's own HTTP port knows neither S3 keys nor Object Lock.
        *("-master.telemetry=false", "-disableHttp"),
        *("-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"),
        *(f"-s3.localSocket={home.control}.s3", f"-filer.localSocket={home.control}.filer"),
        f"-s3.config={folder / 's3.json'}",
    ]


async def is_ready(home: Home) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2) as client:
            return (await client.get(f"{endpoint(home)}/healthz")).status_code == 200
    except httpx.HTTPError:
        return False


def client(home: Home, login: str) -> Any:
    access, secret = keys(home, login)
    return boto3.client(
        "s3",
        endpoint_url=endpoint(home),
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name=REGION,
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )


def make_bucket(home: Home) -> None:
    """The versioned bucket whose objects cannot be deleted or overwritten; harmless to repeat."""
    s3 = client(home, "admin")
    try:
        s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {
            "BucketAlreadyOwnedByYou",
            "BucketAlreadyExists",
        }:
            raise
    s3.put_object_lock_configuration(
        Bucket=BUCKET,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": LOCK_DAYS}},
        },
    )


def make_seal(home: Home) -> tuple[Path, Path]:
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
