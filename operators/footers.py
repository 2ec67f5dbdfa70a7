"""Footers of Parquet files on S3, and the bytes that DuckDB reads of such a file."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING

from starling_py.operators.errors import BadParquet
from starling_py.operators.quoting import parquet_path
from starling_py.shuffle.objects import Buffer, ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb
    import pyarrow.parquet as pq

__all__ = ["TAIL_LENGTH", "Columns", "Footer", "Footers", "column_leaves", "footer_length"]

Columns = dict[str, tuple[int, ...]]
"""Which leaves of a Parquet schema make up each column, by its name in lower case."""

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
TAIL_LENGTH = 8
"""The length of the metadata and the magic, which end every file."""
_SIGNATURE_LENGTH = 28
"""Of a footer that is not encrypted, in a file with columns that are."""
_FIRST_OFFSET = 4
"""Where the data of a file begins; offsets before that are what some writers put for none."""
_ROW_NUMBER = "file_row_number"
_KEPT_BYTES = 4 << 20
"""Of footers as they are in the files; taken apart they are about ten times as large."""


class Footer:
    """The footer of one file.

    Parameters
    ----------
    url
        Of the file, for errors.
    data
        The end of the file, from the metadata on.
    number
        Sets it apart from all others of its :class:`Footers`.

    Raises
    ------
    BadParquet
        If it cannot be read.
    """

    __slots__ = ("columns", "data", "metadata", "number", "url")

    def __init__(self, url: str, data: Buffer, number: int) -> None:
        self.url = url
        self.data = data
        self.number = number
        self.metadata = _metadata(url, data)
        self.columns: Columns | None = None
        """What :func:`column_leaves` says, once it has been asked."""

    def ranges(self, fields: Iterable[str], rows: Iterable[tuple[int, int]]) -> list[ByteRange]:
        """Return what DuckDB reads beyond the footer, in order of offset, without overlaps.

        Parameters
        ----------
        fields
            Columns by the names that ``read_parquet`` gives them. Unknown ones have no bytes.
        rows
            Ranges, from the first row (included) to the last (excluded). Row groups are read as a
            whole.
        """
        columns = self.columns or {}
        if _ROW_NUMBER in columns:
            # It hides DuckDB's own, so that rows have to be counted from the first.
            rows = [(0, self.metadata.num_rows)]
        leaves = sorted({leaf for field in fields for leaf in columns.get(field.lower(), ())})
        if not leaves:
            return []
        wanted = list(rows)
        found: list[ByteRange] = []
        start = 0
        for number in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(number)
            end = start + group.num_rows
            touched = any(first < end and start < last for first, last in wanted)
            for leaf in leaves:
                chunk = group.column(leaf)
                if touched:
                    found.append(_chunk_range(chunk))
                # With a filter on equality DuckDB looks at those of all row groups.
                if chunk.bloom_filter_offset is not None and chunk.bloom_filter_length:
                    found.append(ByteRange(chunk.bloom_filter_offset, chunk.bloom_filter_length))
            start = end
        return list(_joined(found))


class Footers:
    """The footers that were used last, by URL and ETag of their files.

    Parameters
    ----------
    budget
        Bytes of footers to keep; the footers of one task may be more.
    """

    def __init__(self, budget: int = _KEPT_BYTES) -> None:
        self._budget = budget
        self._kept: OrderedDict[tuple[str, str], Footer] = OrderedDict()
        self._bytes = 0
        self._numbers = itertools.count(1)

    def get(self, url: str, etag: str) -> Footer | None:
        """Return a footer if it is here."""
        found = self._kept.get((url, etag))
        if found is not None:
            self._kept.move_to_end((url, etag))
        return found

    def forget(self) -> None:
        """Forget all of them."""
        self._kept.clear()
        self._bytes = 0

    def add(self, url: str, etag: str, data: Buffer) -> Footer:
        """Read a footer, and keep it in place of those that nobody has used for longest.

        Raises
        ------
        BadParquet
            If it cannot be read.
        """
        footer = Footer(url, data, next(self._numbers))
        replaced = self._kept.pop((url, etag), None)
        self._bytes += len(data) - (len(replaced.data) if replaced else 0)
        self._kept[url, etag] = footer
        while self._bytes > self._budget and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.data)
        return footer


def footer_length(url: str, end: Buffer) -> int:
    """Return the length of a footer, of which ``end`` are the last bytes.

    Raises
    ------
    BadParquet
        If it is not that of a Parquet file which can be read.
    """
    magic = bytes(end[-len(_MAGIC) :])
    if magic == _ENCRYPTED:
        raise _encrypted(url)
    if magic != _MAGIC or len(end) < TAIL_LENGTH:
        raise BadParquet(f"{url} is not a Parquet file, or its end is missing")
    return int.from_bytes(end[-TAIL_LENGTH : -len(_MAGIC)], "little") + TAIL_LENGTH


def column_leaves(connection: duckdb.DuckDBPyConnection, path: Path) -> Columns:
    """Return the leaves of each column of a Parquet file, as DuckDB names and counts them."""
    file = parquet_path(str(path))
    names = connection.execute(f"DESCRIBE FROM read_parquet({file}, hive_partitioning = false)")
    columns = [str(row[0]).lower() for row in names.fetchall()]
    schema = connection.execute(f"SELECT coalesce(num_children, 0) FROM parquet_schema({file})")
    children = iter([int(row[0]) for row in schema.fetchall()])
    next(children)  # the root
    leaves = itertools.count()
    return {name: tuple(_leaves_below(children, leaves)) for name in columns}


def _leaves_below(children: Iterator[int], leaves: Iterator[int]) -> Iterator[int]:
    below = next(children)
    if not below:
        yield next(leaves)
    for _ in range(below):
        yield from _leaves_below(children, leaves)


def _metadata(url: str, data: Buffer) -> pq.FileMetaData:
    # Loaded when it is needed: most workers never speak to S3.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(pa.BufferReader(pa.py_buffer(data)))
    except (OSError, pa.ArrowException) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BadParquet(f"{url} has a damaged footer: {lines[0]}") from error
    # Asked for an encrypted column, pyarrow would end the process.
    if len(data) - TAIL_LENGTH - metadata.serialized_size == _SIGNATURE_LENGTH:
        raise _encrypted(url)
    return metadata


def _encrypted(url: str) -> BadParquet:
    return BadParquet(f"{url} is encrypted", hint="encrypted files are not supported")


def _chunk_range(chunk: pq.ColumnChunkMetaData) -> ByteRange:
    start = int(chunk.data_page_offset)
    dictionary = chunk.dictionary_page_offset
    if dictionary is not None and _FIRST_OFFSET <= dictionary < start:
        start = int(dictionary)
    return ByteRange(start, int(chunk.total_compressed_size))


def _joined(ranges: Iterable[ByteRange]) -> Iterator[ByteRange]:
    """Yield ranges that neither overlap nor touch, and hold the same bytes, in order."""
    start = end = 0
    for part in sorted(ranges, key=lambda part: part.offset):
        if part.offset > end:
            if end > start:
                yield ByteRange(start, end - start)
            start = part.offset
        end = max(end, part.offset + part.length)
    if end > start:
        yield ByteRange(start, end - start)
