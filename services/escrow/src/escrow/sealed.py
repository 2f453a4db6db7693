"""Where the sealed contract of a trade can be read, by the key that may only read contracts."""

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from escrow.settings import Settings
from shared.events.contracts import SealedDocument

if TYPE_CHECKING:  # the stubs are there for the type checker only
    from mypy_boto3_s3 import S3Client

PRESIGNED_SECONDS = 300


class SealedDocuments:
    """Signs addresses; it asks nobody, so nothing can fail to answer."""

    def __init__(self, settings: Settings) -> None:
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            aws_access_key_id=settings.s3_access_key,
            aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
            region_name=settings.s3_region,
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
        )

    def presigned_url(self, document: SealedDocument, file_name: str) -> str:
        """An address at which exactly this version can be read for 5 minutes."""
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
