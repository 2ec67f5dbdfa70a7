"""Rows in order, in memory as far as they fit and then in a file: answers may be large."""

from __future__ import annotations

import itertools
import mmap
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from pyarrow import ipc

from starling_py.shuffle.files import store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["MemoryShare", "Rows", "collect", "whole"]


class MemoryShare:
    """Bytes of memory that several collections of rows have together."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Return whether so many bytes were left; they are not any more."""
        with self._lock:
            fits = size <= self._left
            if fits:
                self._left -= size
            return fits

    def give(self, size: int) -> None:
        with self._lock:
            self._left += size


class _Filed(NamedTuple):
    """Batches as an Arrow stream in a mapped file without a name, and where each of them ends."""

    data: mmap.mmap
    ends: tuple[int, ...]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches; the memory of those before the last one is let go of.

        Whoever still holds one of them reads it from the file again.
        """
        let_go = 0
        with ipc.open_stream(pa.py_buffer(self.data)) as stream:
            for end in self.ends:
                yield stream.read_next_batch()
                upto = end // mmap.PAGESIZE * mmap.PAGESIZE
                if hasattr(self.data, "madvise"):
                    self.data.madvise(mmap.MADV_DONTNEED, let_go, upto - let_go)
                let_go = upto

    def table(self) -> pa.Table:
        with ipc.open_stream(pa.py_buffer(self.data)) as stream:
            return stream.read_all()


class Rows:
    """Batches of one schema, the first in memory and the rest, if there is one, in a file.

    ``size`` is what the batches occupy in memory and file together.
    """

    def __init__(
        self,
        schema: pa.Schema,
        held: Sequence[pa.RecordBatch],
        filed: _Filed | None,
        rows: int,
        size: int,
    ) -> None:
        self.schema = schema
        self.rows = rows
        self.size = size
        self._held = held
        self._filed = filed

    @classmethod
    def of(cls, table: pa.Table) -> Rows:
        size = table.get_total_buffer_size()
        return cls(table.schema, table.to_batches(), None, table.num_rows, size)

    @property
    def held(self) -> bool:
        """Whether all of it is in memory."""
        return self._filed is None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows batch by batch; of the file only one is in memory at a time."""
        yield from self._held
        if self._filed is not None:
            yield from self._filed.batches()

    def table(self) -> pa.Table:
        """Return all rows; those of the file are read as they are looked at."""
        table = pa.Table.from_batches(self._held, schema=self.schema)
        if self._filed is None:
            return table
        return pa.concat_tables([table, self._filed.table()])


def whole(pieces: Sequence[Rows]) -> pa.Table:
    """Return the rows of all pieces, of which there is at least one, without copying them."""
    if len(pieces) == 1:
        return pieces[0].table()
    return pa.concat_tables([piece.table() for piece in pieces])


def collect(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    share: MemoryShare,
    folder: Path | None,
    check: Callable[[], None] = lambda: None,
) -> tuple[Rows, int]:
    """Return the rows of ``batches``, and how many bytes they took of ``share``.

    Parameters
    ----------
    folder
        Where the file is made for what does not fit; by default among the machine's temporary
        files. It has no name, and is gone with the rows.
    check
        Called before each batch; raises to stop.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    held: list[pa.RecordBatch] = []
    taken = rows = 0
    coming = iter(batches)
    try:
        for batch in coming:
            check()
            rows += batch.num_rows
            size = batch.get_total_buffer_size()
            if not share.take(size):
                filed, more = _file(schema, batch, coming, folder, check)
                size = taken + filed.ends[-1]
                return Rows(schema, held, filed, rows + more, size), taken
            taken += size
            held.append(batch)
    except BaseException:  # whatever it is, also from ``check``: the rows are gone
        share.give(taken)
        raise
    return Rows(schema, held, None, rows, taken), taken


def _file(
    schema: pa.Schema,
    first: pa.RecordBatch,
    coming: Iterator[pa.RecordBatch],
    folder: Path | None,
    check: Callable[[], None],
) -> tuple[_Filed, int]:
    """Write batches to a file; return it and the rows after the first batch."""
    rows = -first.num_rows
    ends: list[int] = []
    with _errors():
        file = tempfile.TemporaryFile(prefix="starling-", dir=folder)  # noqa: SIM115 - closed below
    with file:
        with _errors():
            writer = ipc.new_stream(pa.PythonFile(file, "w"), schema)
        for batch in itertools.chain((first,), coming):
            check()
            with _errors():
                writer.write_batch(batch)
                ends.append(file.tell())
            rows += batch.num_rows
        with _errors():
            writer.close()
            file.flush()
            data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    return _Filed(data, tuple(ends)), rows


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(error, "the rows of an answer") from error
