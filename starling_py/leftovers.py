"""Scratch on S3: where it is, whether it is fit, and what killed machines left there."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starling_py.catalog.errors import UsageError
from starling_py.shuffle.errors import StoreError, VersionedBucket
from starling_py.shuffle.locations import S3Location, split_url
from starling_py.shuffle.s3_bucket import keeps_deleted_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starling_py.access import S3Access
    from starling_py.shuffle.objects import ObjectStore

__all__ = [
    "Leftover",
    "check_bucket",
    "is_query_id",
    "leftovers",
    "new_query_id",
    "query_started",
    "scratch_location",
    "split_scratch",
]

_QUERY = re.compile(r"[0-9a-f]{19}")
_TIME_DIGITS = 11


def new_query_id(random: str) -> str:
    """Return an id that sorts by time and tells it: 19 hexadecimal characters of a key.

    Parameters
    ----------
    random
        Eight hexadecimal characters that no other query has.
    """
    return f"{time.time_ns() // 1_000_000:0{_TIME_DIGITS}x}{random[:8]}"


def is_query_id(text: str) -> bool:
    """Return whether a text has the form of :func:`new_query_id`."""
    return _QUERY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Leftover:
    """The objects of one query. ``started`` is when the query was planned."""

    query: str
    started: datetime
    keys: tuple[str, ...]
    bytes: int


def split_scratch(url: str) -> tuple[str, str]:
    """Return bucket and prefix of ``s3://bucket/prefix``.

    Raises
    ------
    UsageError
        If the URL is of another form.
    """
    try:
        bucket, prefix = split_url(url)
    except StoreError as error:
        raise UsageError(f"the scratch {url!r} is not of the form s3://bucket/prefix") from error
    return bucket, prefix.strip("/")


def scratch_location(url: str, access: S3Access) -> S3Location:
    """Return the place that a scratch URL names, and how to reach it."""
    bucket, prefix = split_scratch(url)
    return S3Location(bucket, prefix, access.options)


def check_bucket(location: S3Location, access: S3Access) -> None:
    """Refuse a bucket in which deleted objects stay, and cost, for ever.

    Where the credentials do not allow to ask, the bucket is taken.

    Raises
    ------
    VersionedBucket
        If the bucket is versioned; one under Object Lock is, too.
    StoreError
        If it cannot be reached.
    """
    credentials = access.credentials()
    if credentials is None:
        return
    if keeps_deleted_objects(location.bucket, location.options, credentials):
        raise VersionedBucket(
            f"the bucket {location.bucket} is versioned: scratch objects would stay in it "
            "after their deletion",
            hint="name a bucket without versioning and Object Lock for --scratch",
        )


def leftovers(store: ObjectStore, older_than: float) -> Iterator[Leftover]:
    """Yield the queries that began more than ``older_than`` seconds ago and have objects.

    Nothing else below the store's prefix is looked at: a query's folder has a query's id.
    """
    latest = time.time() - older_than
    query = ""
    keys: list[str] = []
    size = 0
    for info in store.list(""):
        folder, slash, _ = info.key.partition("/")
        if folder != query and keys:
            yield _leftover(query, keys, size)
        if folder != query:
            query, keys, size = folder, [], 0
        if slash and is_query_id(folder) and query_started(folder) < latest:
            keys.append(info.key)
            size += info.size
    if keys:
        yield _leftover(query, keys, size)


def query_started(query: str) -> float:
    """Return when a query was planned, in seconds since the epoch."""
    return int(query[:_TIME_DIGITS], 16) / 1000


def _leftover(query: str, keys: list[str], size: int) -> Leftover:
    return Leftover(query, datetime.fromtimestamp(query_started(query), UTC), tuple(keys), size)
