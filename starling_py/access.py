"""How this client reaches S3: options, credentials and buckets, found when first needed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import msgspec

from starling_py.shuffle.buckets import Buckets
from starling_py.shuffle.s3_credentials import (
    chain_credentials,
    chain_region,
    environment_credentials,
)
from starling_py.shuffle.s3_options import S3Options, options_from_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.shuffle.s3_credentials import Credentials

__all__ = ["S3Access"]


class S3Access:
    """Options and credentials of one connection. May be used from several threads.

    Nothing is looked for until something on S3 is used: boto3, which knows profiles and roles,
    takes longer to load than many queries take. Keys in the environment need no boto3.

    Parameters
    ----------
    options
        What is not set here comes from the environment, and the region also from the AWS
        configuration.
    """

    def __init__(self, options: S3Options | None = None) -> None:
        self._given = options
        self._lock = threading.RLock()
        self._options: S3Options | None = None
        self._source: Callable[[], Credentials] | None = None
        self._buckets: Buckets | None = None

    @property
    def options(self) -> S3Options:
        """The options, complete."""
        with self._lock:
            if self._options is None:
                found = options_from_environment(os.environ, self._given)
                if found.region is None and not _has_keys(found):
                    found = msgspec.structs.replace(found, region=chain_region(found.profile))
                self._options = found
            return self._options

    def credentials(self) -> Credentials | None:
        """Return valid credentials, or ``None`` where requests are not signed.

        Raises
        ------
        CredentialsMissing, CredentialsExpired
            If there are none, or none that are still valid.
        """
        with self._lock:
            options = self.options
            if options.anonymous:
                return None
            if self._source is None:
                if _has_keys(options):
                    self._source = environment_credentials(os.environ)
                else:
                    self._source = chain_credentials(options.profile)
            return self._source()

    @property
    def source(self) -> Callable[[], Credentials] | None:
        """What signs requests, each time with valid credentials."""
        return None if self.options.anonymous else self._signed

    def _signed(self) -> Credentials:
        found = self.credentials()
        if found is None:
            raise RuntimeError("anonymous requests are not signed")
        return found

    @property
    def buckets(self) -> Buckets:
        """The buckets that hold data."""
        with self._lock:
            if self._buckets is None:
                self._buckets = Buckets(self.options, self.source)
            return self._buckets

    def close(self) -> None:
        """Close the buckets; later use opens them again."""
        with self._lock:
            buckets, self._buckets = self._buckets, None
        if buckets is not None:
            buckets.close()


def _has_keys(options: S3Options) -> bool:
    """Return whether the environment has keys, which go before all else but a named profile."""
    named = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return options.profile is None and all(os.environ.get(name) for name in named)
