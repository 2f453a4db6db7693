"""The S3 server (SeaweedFS): a key and a bucket per service; contracts cannot be deleted."""

import contextlib
import json
import os
from typing import Any

from bloxtr8.home import Home, Misused

BUCKET = "contracts"
EVIDENCE_BUCKET = "evidence"
"""Escrow's; nothing in it is locked, so that what is refused or abandoned can be deleted."""
REGION = "us-east-1"
LOCK_DAYS = 1
"""Locally a contract is undeletable for a day; production sets years."""
_CONTRACTS_MAY = ("Read", "Write", "List", "Tagging", "PutObjectRetention")
_GRANTS = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "contracts": [f"{action}:{BUCKET}" for action in _CONTRACTS_MAY],
    "escrow": [
        *(f"{action}:{BUCKET}" for action in ("Read", "List")),
        *(f"{action}:{EVIDENCE_BUCKET}" for action in ("Read", "Write")),
    ],
}


def endpoint(home: Home) -> str:
    return os.environ.get("S3_ENDPOINT_URL") or f"http://127.0.0.1:{home.ports['s3']}"


def keys(home: Home, name: str) -> tuple[str, str]:
    """Access key and secret of one login; on an S3 of one's own all use the one key given."""
    if os.environ.get("S3_ENDPOINT_URL"):
        try:
            return os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"]
        except KeyError as missing:
            raise Misused(f"S3_ENDPOINT_URL is set, so {missing.args[0]} is needed.") from None
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
        f"-admin.port={ports['s3_admin']}",
        *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        # The filer's own HTTP port knows neither S3 keys nor Object Lock.
        *("-master.telemetry=false", "-disableHttp"),
        *("-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"),
        f"-s3.localSocket={home.socket('s3')}",
        f"-filer.localSocket={home.socket('filer')}",
        f"-s3.config={folder / 's3.json'}",
    ]


def client(home: Home, login: str) -> Any:
    # boto3 takes most of a second to load, which most commands do not need to spend.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    access, secret = keys(home, login)
    return boto3.client(
        "s3",
        endpoint_url=endpoint(home),
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name=REGION,
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )


def make_buckets(home: Home) -> None:
    """Evidence's, and contracts': versioned, its objects cannot be deleted or overwritten.

    Harmless to repeat.
    """
    s3 = client(home, "admin")
    is_there = (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists)
    with contextlib.suppress(*is_there):
        s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    with contextlib.suppress(*is_there):
        s3.create_bucket(Bucket=EVIDENCE_BUCKET)
    s3.put_object_lock_configuration(
        Bucket=BUCKET,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": LOCK_DAYS}},
        },
    )
