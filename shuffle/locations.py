"""Where a store is, as data that a worker can be told, and the store that is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

import msgspec

from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.local import LocalStore
from starling_py.shuffle.s3_options import S3Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.shuffle.meter import Meter
    from starling_py.shuffle.objects import ObjectStore
    from starling_py.shuffle.s3_credentials import Credentials

__all__ = [
    "LocalLocation",
    "S3Location",
    "StoreLocation",
    "decode_path",
    "encode_path",
    "is_remote",
    "open_location",
    "split_url",
]

_SCHEME = "s3://"


class LocalLocation(msgspec.Struct, frozen=True, tag="local"):
    """A directory of this machine, percent-encoded."""

    path: str


class S3Location(msgspec.Struct, frozen=True, tag="s3"):
    """A prefix of a bucket, without slashes at its ends."""

    bucket: str
    prefix: str = ""
    options: S3Options = S3Options()

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}" if self.prefix else _SCHEME + self.bucket


StoreLocation = LocalLocation | S3Location


def encode_path(path: str) -> str:
    """Return a path as it goes over the wire: percent-encoded, any bytes kept."""
    return quote(os.fsencode(path))


def decode_path(path: str) -> str:
    """Return the path that :func:`encode_path` was given."""
    return os.fsdecode(unquote_to_bytes(path))


def is_remote(path: str) -> bool:
    """Return whether a path is the URL of something on S3."""
    return path.startswith(_SCHEME)


def split_url(url: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://bucket/key``; the key may be empty.

    Raises
    ------
    StoreError
        If it is no such URL.
    """
    bucket, _, key = url.removeprefix(_SCHEME).partition("/")
    if not is_remote(url) or not bucket:
        raise StoreError(f"{url!r} is not of the form s3://bucket/key")
    return bucket, key


def open_location(
    location: StoreLocation,
    credentials: Callable[[], Credentials] | None = None,
    meter: Meter | None = None,
) -> ObjectStore:
    """Open the store at a location.

    Parameters
    ----------
    credentials
        Sign the requests to S3; by default those of the environment.
    """
    if isinstance(location, LocalLocation):
        return LocalStore(Path(decode_path(location.path)), meter=meter)
    # Loaded when it is needed: most workers never speak to S3.
    from starling_py.shuffle.s3 import S3Store

    return S3Store(
        location.bucket, location.prefix, location.options, credentials=credentials, meter=meter
    )
