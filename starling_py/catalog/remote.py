"""Tables on S3: which folders and objects there are below a prefix, and which a pattern matches."""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from starling_py.catalog.errors import NoFiles, UsageError
from starling_py.catalog.listing import Listed, is_hidden, is_parquet, table_name
from starling_py.catalog.manifest import MANIFEST, Found, Manifest, chosen, decoded
from starling_py.catalog.tree import ANY_DEPTH, GLOB, Tree, has_glob
from starling_py.planner.errors import Unsupported
from starling_py.shuffle.errors import ObjectMissing, StoreError
from starling_py.shuffle.locations import split_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from starling_py.catalog.probe import Probe
    from starling_py.shuffle.buckets import Buckets
    from starling_py.shuffle.objects import ObjectInfo

__all__ = ["RemoteFiles", "RemoteTable", "bucket_and_key"]

_THREADS = 16


class RemoteTable(NamedTuple):
    """A folder below a data folder, or an object in it."""

    name: str
    url: str
    file: Listed | None


def bucket_and_key(url: str) -> tuple[str, str]:
    """Return a bucket, and a key without slashes at its ends.

    Raises
    ------
    UsageError
        If it is no URL of S3, or its bucket is a pattern.
    """
    try:
        bucket, key = split_url(url)
    except StoreError as error:
        raise UsageError(error.message) from error
    if has_glob(bucket):
        raise UsageError(f"the bucket in {url} cannot be a pattern")
    return bucket, key.strip("/")


class RemoteFiles:
    """Lists what is on S3. Every answer is a new listing."""

    def __init__(self, buckets: Callable[[], Buckets] | None, probe: Probe) -> None:
        self._buckets = buckets
        self._probe = probe
        self._manifests: dict[str, tuple[str, Manifest]] = {}

    def check(self, url: str) -> None:
        """Raise the error for a URL that cannot be read here, without asking anybody."""
        bucket_and_key(url)
        if self._buckets is None:
            raise NoFiles(f"cannot read {url}: only local files can be read")

    def tables(self, url: str) -> list[RemoteTable]:
        """Return the tables of a data folder, in the order of their names."""
        bucket, prefix = bucket_and_key(url)
        folders, objects = self._open(bucket).store(bucket).list_folder(prefix)
        if prefix and not folders and not objects:
            raise UsageError(f"there is nothing below {url}")
        found: list[tuple[str, Listed | None]] = [(folder, None) for folder in folders]
        for info in objects:
            marks = info.size == 0 and info.key in folders
            if is_parquet(info.key) and not marks:
                found.append((info.key, _listed(bucket, info, _url(bucket, prefix))))
        found.sort(key=lambda item: item[0].encode())
        return [
            RemoteTable(table_name(name), _url(bucket, key), file)
            for key, file in found
            if not is_hidden(name := key.rpartition("/")[2])
        ]

    def below(self, url: str, table: str) -> Found:
        """Return the Parquet files of a folder, in the order of a local one or of its manifest."""
        bucket, prefix = bucket_and_key(url)
        start = f"{prefix}/" if prefix else ""
        # Without the folder's own path, in which nothing counts as hidden.
        known = _by_key(self._list(bucket, start), start)
        if MANIFEST in known:
            listed = {key: _listed(bucket, info, url) for key, info in known.items()}
            return chosen(self._manifest(bucket, known[MANIFEST], url), listed, table)
        keys = Tree({key: info.size for key, info in known.items()}).search(
            (ANY_DEPTH,),
            self._probe.matching,
            lambda name: not is_hidden(name),
            lambda name: is_parquet(name) and not is_hidden(name),
        )
        return Found([_listed(bucket, known[key], _url(bucket, prefix)) for key in keys])

    def table(self, url: str, table: str) -> Found:
        """Return the files of a folder, of a pattern or of one object."""
        bucket, key = bucket_and_key(url)
        if has_glob(key):
            return Found(self._search(url, bucket, key))
        one = self._object(url, bucket, key)
        return Found([one]) if one else self.below(url, table)

    def _manifest(self, bucket: str, info: ObjectInfo, url: str) -> Manifest:
        known = self._manifests.get(info.key)
        if known is None or known[0] != info.etag:
            data = bytes(self._open(bucket).store(bucket).get(info.key))
            known = self._manifests[info.key] = (info.etag, decoded(data, url))
        return known[1]

    def match(self, url: str) -> list[Listed]:
        """Return the files that ``read_parquet(url)`` reads, in the order of local ones.

        A folder stands for all ``.parquet`` files below it.
        """
        bucket, key = bucket_and_key(url)
        if has_glob(key):
            return self._search(url, bucket, key)
        one = self._object(url, bucket, key)
        if one:
            return [one]
        every = self._list(bucket, f"{key}/" if key else "")
        found = self._find(bucket, f"{key}/**/*.parquet".lstrip("/"), every)
        if not found:
            raise NoFiles(
                f"the folder {url} holds no .parquet file" if every else f"no files match {url}"
            )
        return found

    def match_all(self, urls: Sequence[str]) -> list[list[Listed]]:
        """Return the files of several patterns, looked for at the same time."""
        if len(urls) <= 1:
            return [self.match(url) for url in urls]
        # What is asked for is counted in the caller's meters too.
        contexts = [contextvars.copy_context() for _ in urls]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="starling-list") as threads:
            return list(threads.map(lambda c, url: c.run(self.match, url), contexts, urls))

    def _search(self, url: str, bucket: str, pattern: str) -> list[Listed]:
        if pattern.split("/").count(ANY_DEPTH) > 1:
            raise Unsupported(f"{url}: a pattern has at most one {ANY_DEPTH}")
        literal = pattern[: min(at for at in map(pattern.find, GLOB) if at >= 0)]
        every = self._list(bucket, literal)
        found = self._find(bucket, pattern, every)
        if not found:
            found = [_listed(bucket, info) for info in every if info.key == pattern]
        if not found:
            hint = f"nothing there begins with {_url(bucket, literal)}" if not every else None
            raise NoFiles(f"no files match {url}", hint=hint)
        return found

    def _find(self, bucket: str, pattern: str, every: Iterable[ObjectInfo]) -> list[Listed]:
        known = _by_key(every)
        tree = Tree({key: info.size for key, info in known.items()})
        keys = tree.search(pattern.split("/"), self._probe.matching)
        return [_listed(bucket, known[key]) for key in keys]

    def _object(self, url: str, bucket: str, key: str) -> Listed | None:
        if not key or url.endswith("/"):
            return None
        try:
            return _listed(bucket, self._open(bucket).store(bucket).head(key))
        except ObjectMissing:
            return None

    def _list(self, bucket: str, prefix: str) -> list[ObjectInfo]:
        return list(self._open(bucket).store(bucket).list(prefix))

    def _open(self, bucket: str) -> Buckets:
        if self._buckets is None:
            raise NoFiles(f"cannot read s3://{bucket}: only local files can be read")
        return self._buckets()


def _by_key(every: Iterable[ObjectInfo], start: str = "") -> dict[str, ObjectInfo]:
    """Return objects by the rest of their keys.

    What marks a folder comes without its slash, and may have the key of a file.
    """
    found: dict[str, ObjectInfo] = {}
    for info in every:
        if info.size or info.key.removeprefix(start) not in found:
            found[info.key.removeprefix(start)] = info
    return found


def _listed(bucket: str, info: ObjectInfo, within: str = "") -> Listed:
    """Return an object as a file; its folders below ``within`` may have keys and values."""
    url = _url(bucket, info.key)
    return Listed(url, url, url.removeprefix(within), info.size, 0, info.etag)


def _url(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"
