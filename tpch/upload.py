"""Files to a prefix on S3, through boto3: this is not the engine's way, and need not be fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from starling_py.errors import UsageError
from starling_py.tpch.errors import UploadFailed
from starling_py.tpch.unfinished import MANIFEST, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["Prefix"]

_SCHEME = "s3://"
_MISSING = ("404", "NoSuchKey")


class Prefix:
    """A place ``s3://bucket/prefix``. Credentials and endpoint come from where boto3 finds them.

    Raises
    ------
    UsageError
        If the URL is none.
    UploadFailed
        If boto3 is not installed, or finds no region.
    """

    def __init__(self, url: str) -> None:
        bucket, _, prefix = url.removeprefix(_SCHEME).partition("/")
        prefix = prefix.strip("/")
        if not url.startswith(_SCHEME) or not bucket or not prefix:
            raise UsageError(f"{url!r} is not of the form s3://bucket/prefix")
        self.url = f"{_SCHEME}{bucket}/{prefix}"
        self._bucket, self._prefix = bucket, f"{prefix}/"
        try:
            import boto3
            import botocore.exceptions
        except ImportError as error:
            raise UploadFailed(
                "boto3 is not installed", hint="pip install 'starling-py[s3]'"
            ) from error
        self._errors: tuple[type[Exception], ...] = (
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.ClientError,
            boto3.exceptions.S3UploadFailedError,
        )
        self._client: Any = self._ask(lambda: boto3.client("s3"))

    def put(self, path: Path, name: str) -> None:
        """Upload a file."""
        self._ask(lambda: self._client.upload_file(str(path), self._bucket, self._prefix + name))

    def manifest(self) -> Manifest | None:
        """Return what is known to be there."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + MANIFEST)
            return msgspec.json.decode(found["Body"].read(), type=Manifest)
        except self._errors as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code")
            if code in _MISSING:
                return None
            raise self._failure(error) from error
        except msgspec.DecodeError:
            return None

    def put_manifest(self, manifest: Manifest) -> None:
        """Say what is there."""
        body = msgspec.json.encode(manifest)
        self._ask(
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + MANIFEST, Body=body
            )
        )

    def first_key(self) -> str | None:
        """Return the first key below the prefix, if there is one, but for the manifest's."""
        return next((key for key in self._keys("") if key != MANIFEST), None)

    def clear(self, folders: Iterable[str]) -> None:
        """Delete the objects of these folders."""
        for folder in folders:
            for key in self._keys(f"{folder}/"):
                self._delete(key)

    def _delete(self, key: str) -> None:
        self._ask(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key))

    def _keys(self, folder: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + folder
        )
        found = self._ask(lambda: [page.get("Contents", ()) for page in pages])
        return (each["Key"].removeprefix(self._prefix) for page in found for each in page)

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._errors as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> UploadFailed:
        return UploadFailed(f"{self.url}: {str(error).splitlines()[0]}")
