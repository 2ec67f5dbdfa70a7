"""Whether a bucket is fit for scratch data; asked once, at the client."""

from __future__ import annotations

import http.client
import re
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starling_py.shuffle.errors import BucketMissing, StoreError, StoreUnavailable, WrongRegion
from starling_py.shuffle.s3_sign import host_of, payload_hash, sign

if TYPE_CHECKING:
    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["keeps_deleted_objects"]

_STATUS = re.compile(r"<Status>\s*(\w+)\s*</Status>")
_REGION = re.compile(r"<Region>\s*([a-z0-9-]+)\s*</Region>")
_QUERY = "versioning="
_DEFAULT = "us-east-1"


def keeps_deleted_objects(bucket: str, options: S3Options, credentials: Credentials) -> bool | None:
    """Return whether the bucket is versioned, so that a delete frees nothing.

    Object Lock needs versioning and so is found too. ``None`` means that the store does not tell,
    or not to these credentials. The one request is not metered.

    Raises
    ------
    BucketMissing
        If there is no such bucket.
    WrongRegion
        If it is in another region.
    StoreUnavailable
        If the store cannot be reached.
    StoreError
        If it says something else.
    """
    status, text, elsewhere = _ask(bucket, options, credentials)
    if elsewhere:
        raise WrongRegion(
            f"the bucket {bucket} is not in {options.region or _DEFAULT}, but in {elsewhere}",
            hint=f"set AWS_REGION to {elsewhere}",
        )
    if status == 200:
        found = _STATUS.search(text)
        # Suspended versioning keeps old versions but makes no new ones.
        return found is not None and found[1] == "Enabled"
    if status == 404 and "NoSuchBucket" in text:
        raise BucketMissing(f"there is no bucket {bucket}")
    # What denies this may allow all that scratch needs.
    if status in (301, 307, 400, 403, 405, 501):
        return None
    raise StoreError(f"s3://{bucket} cannot be looked at: status {status}")


def _ask(bucket: str, options: S3Options, credentials: Credentials) -> tuple[int, str, str]:
    """Return status and text of the answer, and in which other region the bucket is."""
    url = options.bucket_url(bucket)
    path = f"{urlsplit(url).path}/{bucket}" if options.in_path(bucket) else "/"
    headers = sign(
        "GET",
        path,
        {"host": host_of(url)},
        payload_hash(()),
        query=_QUERY,
        credentials=credentials,
        region=options.region or _DEFAULT,
        now=datetime.now(UTC),
    )
    with closing(_connection(url, options.request_timeout)) as connection:
        try:
            connection.request("GET", f"{path}?{_QUERY}", headers=headers)
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable(f"{url} cannot be reached: {error}") from error
    elsewhere = ""
    if reply.status in (301, 307, 400):
        found = _REGION.search(text)
        elsewhere = reply.headers.get("x-amz-bucket-region") or (found[1] if found else "")
    return reply.status, text, elsewhere if elsewhere != (options.region or _DEFAULT) else ""


def _connection(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout)
