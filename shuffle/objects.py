"""What an object store promises: the protocol that memory, local directories and S3 implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from starling_py.shuffle.index import ObjectIndex
    from starling_py.shuffle.meter import Meter
    from starling_py.shuffle.rows import Rows

__all__ = [
    "ArrowStore",
    "Buffer",
    "ByteRange",
    "ObjectInfo",
    "ObjectStore",
    "ParallelStore",
    "ReadRequest",
    "RowStore",
    "copy_key",
    "task_key",
]

Buffer = bytes | bytearray | memoryview


class ByteRange(msgspec.Struct, frozen=True):
    """``length`` bytes from ``offset``."""

    offset: int
    length: int


class ObjectInfo(msgspec.Struct, frozen=True):
    """What a listing or a HEAD tells of an object."""

    key: str
    size: int
    etag: str


class ReadRequest(msgspec.Struct, frozen=True):
    """A range of an object. ``alternate`` is a key with the same bytes, or empty.

    The alternate is read instead where ``key`` is missing, and beside it where that is slow. With
    an ``etag`` an object of another one is ``ObjectChanged``.
    """

    key: str
    wanted: ByteRange
    alternate: str = ""
    etag: str = ""


class ObjectStore(Protocol):
    """Keys to immutable bytes. Every method may be called from several threads at once.

    Keys are relative, ``/``-separated, without empty, ``.`` or ``..`` parts. Every request is
    counted by ``meter`` with its kind and bytes, failed ones too. Errors are those of
    :mod:`starling_py.shuffle.errors`.
    """

    @property
    def meter(self) -> Meter: ...

    def get(self, key: str) -> Buffer: ...

    def get_range(self, key: str, wanted: ByteRange) -> Buffer:
        """Return exactly the wanted bytes; a range past the end is a ``CorruptObject``."""
        ...

    def get_ranges(self, key: str, wanted: Sequence[ByteRange]) -> list[Buffer]: ...

    def get_start(self, key: str, most: int) -> Buffer:
        """Return the first ``most`` bytes of an object that is not empty, or all that there are."""
        ...

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Store the concatenation of ``parts``, replacing what is there; seen whole or never."""
        ...

    def put_if_absent(self, key: str, parts: Sequence[Buffer]) -> None:
        """Store as ``put`` does, or raise ``ObjectExists``: of any number of writers one wins."""
        ...

    def head(self, key: str) -> ObjectInfo: ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with ``prefix``, in key order."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects that exist; a missing key is no error."""
        ...

    def close(self) -> None:
        """Release what the store holds open. Objects of a durable store stay."""
        ...


@runtime_checkable
class ArrowStore(Protocol):
    """A store in the process of its users, which hands over Arrow data without a copy."""

    def put_partitions(self, key: str, index: ObjectIndex, partitions: Sequence[pa.Table]) -> None:
        """As ``put_if_absent``, with tables instead of bytes."""
        ...

    def get_partitions(self, key: str, first: int, last: int) -> list[pa.Table]:
        """Return partitions ``first`` (included) to ``last`` (excluded) of an object."""
        ...

    def get_index(self, key: str) -> ObjectIndex:
        """Return the index that an object was put with."""
        ...


@runtime_checkable
class RowStore(Protocol):
    """An :class:`ArrowStore` that takes one partition batch by batch, whatever its size."""

    def put_rows(
        self,
        key: str,
        nonce: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        check: Callable[[], None],
    ) -> ObjectIndex:
        """As ``put_partitions`` with one partition; ``check`` is called before each batch."""
        ...

    def get_rows(self, key: str) -> Rows:
        """Return the rows of such an object as they lie."""
        ...


@runtime_checkable
class ParallelStore(Protocol):
    """A store whose answers take time: many requests at once are worth while."""

    def read_many(self, requests: Sequence[ReadRequest]) -> Iterator[Buffer]:
        """Yield exactly the wanted bytes of each request, in order, read in parallel."""
        ...


def task_key(query: str, stage: int, task: int) -> str:
    """Return the predetermined key of a task's output object."""
    return f"{query}/stage-{stage:04d}/task-{task:06d}.shuffle"


def copy_key(key: str) -> str:
    """Return the key of the second copy of a task's output; it is below the query's prefix too."""
    query, _, rest = key.partition("/")
    return f"{query}/copy/{rest}"
