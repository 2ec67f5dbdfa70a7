"""Data on S3, read by URL: one store a bucket, opened when first asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.locations import split_url
from starling_py.shuffle.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.shuffle.s3 import S3Store
    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["Buckets"]


class Buckets:
    """The buckets that hold data, all reached with the same options and credentials.

    Parameters
    ----------
    credentials
        Sign the requests; by default those of the environment, looked up when a bucket is opened.
    meter
        Counts the requests; by default one of its own.
    """

    def __init__(
        self,
        options: S3Options,
        credentials: Callable[[], Credentials] | None = None,
        *,
        meter: Meter | None = None,
    ) -> None:
        self._options = options
        self._credentials = credentials
        self._meter = meter or Meter()
        self._lock = threading.Lock()
        self._open: dict[str, S3Store] = {}
        self._closed = False

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def options(self) -> S3Options:
        return self._options

    def store(self, bucket: str) -> S3Store:
        """Return the store of a whole bucket; its keys are those of the bucket."""
        # Loaded when it is needed: most workers never speak to S3.
        from starling_py.shuffle.s3 import S3Store

        with self._lock:
            if self._closed:
                raise StoreError("the buckets are closed")
            found = self._open.get(bucket)
            if found is None:
                found = S3Store(
                    bucket, "", self._options, credentials=self._credentials, meter=self._meter
                )
                self._open[bucket] = found
            return found

    def locate(self, url: str) -> tuple[S3Store, str]:
        """Return the store and the key of ``s3://bucket/key``."""
        bucket, key = split_url(url)
        return self.store(bucket), key

    def close(self) -> None:
        """Close all stores."""
        with self._lock:
            self._closed = True
            stores, self._open = list(self._open.values()), {}
        for store in stores:
            store.close()
