"""Whether a bucket is fit for scratch data; asked once, at the client, with boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.shuffle.errors import BucketMissing, StoreError

if TYPE_CHECKING:
    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["keeps_deleted_objects"]

_UNKNOWN = {"AccessDenied", "403", "NotImplemented", "MethodNotAllowed"}


def keeps_deleted_objects(bucket: str, options: S3Options, credentials: Credentials) -> bool | None:
    """Return whether the bucket is versioned, so that a delete frees nothing.

    Object Lock needs versioning and so is found too. ``None`` means that the store does not tell,
    or not to these credentials. The one request is not metered.

    Raises
    ------
    StoreError
        If boto3 is not installed or the bucket cannot be asked.
    """
    try:
        import boto3
        import botocore.config
        import botocore.exceptions
    except ImportError as error:
        raise StoreError("boto3 is not installed", hint="pip install 'starling-py[s3]'") from error

    client = boto3.client(
        "s3",
        endpoint_url=options.endpoint,
        region_name=options.region or "us-east-1",
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
        config=botocore.config.Config(
            connect_timeout=options.connect_timeout,
            read_timeout=options.request_timeout,
            s3={"addressing_style": "path" if options.in_path(bucket) else "virtual"},
        ),
    )
    try:
        status = client.get_bucket_versioning(Bucket=bucket).get("Status")
    except botocore.exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code in _UNKNOWN:
            return None
        if code == "NoSuchBucket":
            raise BucketMissing(f"there is no bucket {bucket}") from error
        raise StoreError(f"s3://{bucket} cannot be looked at: {error}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise StoreError(f"s3://{bucket} cannot be looked at: {error}") from error
    finally:
        client.close()
    # Suspended versioning keeps old versions but makes no new ones.
    return bool(status == "Enabled")
