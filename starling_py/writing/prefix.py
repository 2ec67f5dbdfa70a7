"""A prefix of a bucket that statements write below."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import ObjectMissing, StarlingError
from starling_py.shuffle.locations import encode_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starling_py.shuffle.buckets import Buckets
    from starling_py.shuffle.s3 import S3Store
    from starling_py.writing.folder import Moves

__all__ = ["RemoteFolder"]


class RemoteFolder:
    """What is below a prefix of a bucket, which has no slash at its end.

    A move is a copy inside S3 and a deletion. A folder of several files cannot be made at once:
    its files appear one after the other, within the time that the copies take.
    """

    def __init__(self, bucket: str, prefix: str, buckets: Callable[[], Buckets]) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._buckets = buckets

    @property
    def root(self) -> str:
        return ""

    def told(self, name: str) -> str:
        return encode_path(self.shown(name))

    def shown(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._key(name)}"

    def check(self) -> None:
        """Do nothing: whether the bucket may be written shows when it is."""

    def begin(self, name: str) -> None:
        """Do nothing: there are no empty folders."""

    def names(self, below: str) -> list[str]:
        start = len(self._key("x")) - 1
        return [info.key[start:] for info in self._store.list(f"{self._key(below)}/")]

    def folders(self) -> list[str]:
        found, _ = self._store.list_folder(self._prefix)
        return [key.rpartition("/")[2] for key in found]

    def is_file(self, name: str) -> bool:
        try:
            self._store.head(self._key(name))
        except ObjectMissing:
            return False
        return True

    def is_folder(self, name: str) -> bool:  # noqa: ARG002 - a local folder needs it
        """Return that there is none: on S3 a key may be that of an object and of a folder."""
        return False

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._store.get(self._key(name)))
        except ObjectMissing:
            return None

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        put = self._store.put_if_absent if create else self._store.put
        put(self._key(name), [data])

    def move(self, moves: Moves) -> None:
        self._store.copy_all([(self._key(source), self._key(target)) for source, target in moves])
        self.delete([source for source, _ in moves])

    def publish(self, moves: Moves, target: str, staging: str, *, replace: bool) -> None:  # noqa: ARG002 - a local folder needs it
        old = self.names(target) if replace else []
        made = [f"{target}/{inner}" for _, inner in moves]
        try:
            self.move([(source, name) for (source, _), name in zip(moves, made, strict=True)])
        except BaseException:
            with suppress(StarlingError):
                self.delete(made)
            raise
        self.delete([name for name in old if name not in made])

    def delete(self, names: Iterable[str]) -> None:
        keys = [self._key(name) for name in names]
        if keys:
            self._store.delete(keys)

    def clear(self, name: str) -> None:
        self.delete(self.names(name))

    @property
    def _store(self) -> S3Store:
        return self._buckets().store(self._bucket)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name
