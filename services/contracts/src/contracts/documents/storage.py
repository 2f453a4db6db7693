"""Objects in S3: written once under a key that nobody can take twice, read by their version.

boto3 is synchronous; every call runs in a thread.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from contracts.settings import Settings
from shared.errors import Unavailable

if TYPE_CHECKING:  # the stubs are there for the type checker only
    from mypy_boto3_s3 import S3Client

PRESIGNED_SECONDS = 300
_YEAR = timedelta(days=366)
"""A day too many rather than one too few."""


class StorageUnavailable(Unavailable):
    code = "storage-unavailable"
    title = "The documents' storage does not answer"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The documents' storage does not answer: {reason}.")


class Storage:
    """One bucket, versioned and under Object Lock."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._retention = settings.retention_years * _YEAR
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            aws_access_key_id=settings.s3_access_key,
            aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
            region_name=settings.s3_region,
            config=Config(
                s3={"addressing_style": "path"},
                signature_version="s3v4",
                connect_timeout=3,
                read_timeout=20,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        )

    async def put_once(self, key: str, body: bytes) -> str | None:
        """Store a PDF under a key that is still free, for as long as the settings say; returns its
        version.

        Returns:
            None when the key is taken.

        Raises:
            StorageUnavailable: nobody answers, or a write to this key is under way.
        """
        return await asyncio.to_thread(self._put_once, key, body)

    def _put_once(self, key: str, body: bytes) -> str | None:
        try:
            stored = self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType="application/pdf",
                IfNoneMatch="*",
                **self._lock(),
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                return None
            raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error
        return stored["VersionId"]

    def _lock(self) -> dict[str, Any]:
        if not self._retention:
            return {}
        until = datetime.now(UTC) + self._retention
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}

    async def read(self, key: str, version_id: str | None = None) -> tuple[bytes, str]:
        """An object's bytes and version; without a version the current one.

        Raises:
            StorageUnavailable: nobody answers, or the object is not there.
        """
        return await asyncio.to_thread(self._read, key, version_id)

    def _read(self, key: str, version_id: str | None) -> tuple[bytes, str]:
        try:
            if version_id is None:
                found = self._client.get_object(Bucket=self.bucket, Key=key)
            else:
                found = self._client.get_object(Bucket=self.bucket, Key=key, VersionId=version_id)
            return found["Body"].read(), found["VersionId"]
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error

    def presigned_url(self, key: str, version_id: str, file_name: str) -> str:
        """An address at which exactly this version can be read for 5 minutes."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": key,
                "VersionId": version_id,
                "ResponseContentType": "application/pdf",
                "ResponseContentDisposition": f'inline; filename="{file_name}"',
            },
            ExpiresIn=PRESIGNED_SECONDS,
        )

    async def check(self) -> None:
        """Raises when the bucket cannot be reached."""
        await asyncio.to_thread(self._client.head_bucket, Bucket=self.bucket)


def _unavailable(error: ClientError | BotoCoreError) -> StorageUnavailable:
    reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else "no connection"
    return StorageUnavailable(reason)
