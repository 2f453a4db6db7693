"""Evidence in S3: uploads go to one key each, clean bytes lie under their hash. Sealed
contracts are read with the same key.

boto3 is synchronous; every call runs in a thread.
"""

import asyncio
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from escrow.settings import Settings
from shared.errors import Unavailable
from shared.events.contracts import SealedDocument

if TYPE_CHECKING:  # the stubs are there for the type checker only
    from mypy_boto3_s3 import S3Client

PRESIGNED_SECONDS = 300


class StorageUnavailable(Unavailable):
    code = "storage-unavailable"
    title = "The storage of evidence does not answer"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The storage of evidence does not answer: {reason}.")


class Storage:
    """One bucket that nobody reads or writes without a signature."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
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

    def upload_form(self, key: str, content_type: str, size: int) -> tuple[str, dict[str, str]]:
        """Address and fields by which one private object of this key, type and size may be put
        for 5 minutes.
        """
        fixed = {"Content-Type": content_type, "acl": "private"}
        form = self._client.generate_presigned_post(
            self.bucket,
            key,
            Fields=dict(fixed),
            Conditions=[*({k: v} for k, v in fixed.items()), ["content-length-range", size, size]],
            ExpiresIn=PRESIGNED_SECONDS,
        )
        return form["url"], form["fields"]

    def download_url(self, key: str, content_type: str, file_name: str) -> str:
        """An address at which exactly this object can be downloaded for 5 minutes."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": key,
                "ResponseContentType": content_type,
                "ResponseContentDisposition": f'attachment; filename="{file_name}"',
            },
            ExpiresIn=PRESIGNED_SECONDS,
        )

    def sealed_url(self, document: SealedDocument, file_name: str) -> str:
        """An address at which exactly this sealed contract can be read for 5 minutes."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": document.bucket,
                "Key": document.key,
                "VersionId": document.version_id,
                "ResponseContentType": "application/pdf",
                "ResponseContentDisposition": f'attachment; filename="{file_name}"',
            },
            ExpiresIn=PRESIGNED_SECONDS,
        )

    async def read(self, key: str, at_most: int) -> bytes | None:
        """The first `at_most` bytes of an object; None when it is not there.

        Raises:
            StorageUnavailable: nobody answers.
        """
        return await asyncio.to_thread(self._read, key, at_most)

    def _read(self, key: str, at_most: int) -> bytes | None:
        try:
            found = self._client.get_object(Bucket=self.bucket, Key=key)
            with found["Body"] as body:
                return body.read(at_most)
        except self._client.exceptions.NoSuchKey:
            return None
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error

    async def put_once(self, key: str, body: bytes, content_type: str) -> None:
        """Store bytes under a key made of their hash; if they lie there already it is done.

        Raises:
            StorageUnavailable: nobody answers, or a write to this key is under way.
        """
        await asyncio.to_thread(self._put_once, key, body, content_type)

    def _put_once(self, key: str, body: bytes, content_type: str) -> None:
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:
                raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error

    async def delete(self, key: str) -> None:
        """Delete an object; it need not be there.

        Raises:
            StorageUnavailable: nobody answers.
        """
        try:
            await asyncio.to_thread(self._client.delete_object, Bucket=self.bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error


def _unavailable(error: ClientError | BotoCoreError) -> StorageUnavailable:
    reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else "no connection"
    return StorageUnavailable(reason)
