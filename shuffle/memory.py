"""Objects in the memory of the process, tables as Arrow data; past a budget in files."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import (
    CorruptObject,
    ObjectExists,
    ObjectMissing,
    StoreError,
)
from starling_py.shuffle.format import decode_header, decode_partition, encode_object, producer_of
from starling_py.shuffle.held import (
    Held,
    HeldBytes,
    HeldRows,
    HeldTables,
    Spilled,
    info_of,
    tables_of,
)
from starling_py.shuffle.index import ObjectIndex, PartitionEntry
from starling_py.shuffle.keys import check_key
from starling_py.shuffle.meter import Meter
from starling_py.shuffle.rows import MemoryShare, Rows, collect
from starling_py.shuffle.spill import SpillFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from starling_py.shuffle.objects import Buffer, ByteRange, ObjectInfo

__all__ = ["MemoryStore"]


_ROWS_BYTES = 64 << 20


class MemoryStore:
    """Keys to objects in the memory of this process; both an ``ObjectStore`` and an ``ArrowStore``.

    Tables are kept and handed over as they are. They also can be read as bytes, which encodes
    them anew each time. Rows that are put batch by batch share ``rows_budget`` bytes of memory;
    what does not fit is in files without names, which last as long as the rows are in use.

    Parameters
    ----------
    budget
        Bytes that may be kept in memory, ``None`` for no limit. An object that would exceed it
        is written to a file.
    spill_directory
        Where the private directory of those files is created, with the first of them; by default
        the machine's directory for temporary files.
    """

    def __init__(
        self,
        *,
        budget: int | None = None,
        spill_directory: Path | None = None,
        rows_budget: int = _ROWS_BYTES,
        meter: Meter | None = None,
    ) -> None:
        self._budget = budget
        self._share = MemoryShare(rows_budget if budget is None else min(rows_budget, budget))
        self._spill_directory = spill_directory
        self._files = SpillFiles(spill_directory)
        self._meter = meter or Meter(billed=False)
        self._lock = threading.Lock()
        self._objects: dict[str, Held] = {}
        self._held = 0
        self._numbers = itertools.count(1)
        self._closed = False

    @property
    def meter(self) -> Meter:
        return self._meter

    @property
    def held_bytes(self) -> int:
        """Bytes of objects in memory."""
        return self._held

    @property
    def spilled_bytes(self) -> int:
        """Bytes ever written to files."""
        return self._files.written

    # Tables

    def put_partitions(self, key: str, index: ObjectIndex, partitions: Sequence[pa.Table]) -> None:
        size = index.bytes
        written = 0
        try:
            self._refuse_taken(check_key(key))
            with self._lock:
                number = next(self._numbers)
                fits = self._reserve(size)
            stored: Held
            if fits:
                stored = HeldTables(number, size, size, index, tuple(partitions))
            else:
                encoded = encode_object(producer_of(key, index.nonce), partitions)
                self._files.put(key, number, encoded.parts)
                stored = Spilled(number, size, index)
            self._insert(key, stored, replace=False)
            written = size
        finally:
            self._meter.count("put", bytes_out=written)

    def put_rows(
        self,
        key: str,
        nonce: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        check: Callable[[], None],
    ) -> ObjectIndex:
        size = 0
        try:
            self._refuse_taken(check_key(key))
            with self._lock:
                number = next(self._numbers)
            rows, held = collect(schema, batches, self._share, self._spill_directory, check)
            entry = PartitionEntry(0, rows.size, rows.rows, 0)
            index = ObjectIndex(nonce, (entry,))
            self._insert(key, HeldRows(number, rows.size, held, index, rows), replace=False)
            size = rows.size
            return index
        finally:
            self._meter.count("put", bytes_out=size)

    def get_rows(self, key: str) -> Rows:
        size = 0
        try:
            found = self._find(key)
            if isinstance(found, HeldRows):
                size = found.size
                return found.rows
        finally:
            self._meter.count("get", bytes_in=size)
        (table,) = self.get_partitions(key, 0, 1)
        return Rows.of(table)

    def get_partitions(self, key: str, first: int, last: int) -> list[pa.Table]:
        read = 0
        try:
            found, data = self._load(key)
            if isinstance(found, HeldTables | HeldRows):
                tables = list(tables_of(found)[first:last])
                read = sum(entry.length for entry in found.index.partitions[first:last])
            else:
                header = decode_header(key, data)
                tables = []
                for number in range(first, min(last, len(header.index.partitions))):
                    entry = header.index.partitions[number]
                    part = memoryview(data)[entry.offset : entry.offset + entry.length]
                    table = decode_partition(key, number, entry, part)
                    tables.append(header.schema.empty_table() if table is None else table)
                    read += entry.length
            if len(tables) != last - first:
                raise CorruptObject(f"{key} has no partitions {first} to {last - 1}")
            return tables
        finally:
            self._meter.count("get", bytes_in=read)

    def get_index(self, key: str) -> ObjectIndex:
        """Return the index of an object of partitions, however it was put."""
        self._meter.count("head")
        found, data = self._load(key)
        if not isinstance(found, HeldBytes) and found.index is not None:
            return found.index
        return decode_header(key, data).index

    # Bytes

    def get(self, key: str) -> Buffer:
        data: Buffer = b""
        try:
            data = self._bytes(key)
            return data
        finally:
            self._meter.count("get", bytes_in=len(data))

    def get_range(self, key: str, wanted: ByteRange) -> Buffer:
        return self.get_ranges(key, (wanted,))[0]

    def get_ranges(self, key: str, wanted: Sequence[ByteRange]) -> list[Buffer]:
        found: list[Buffer] = []
        try:
            data = memoryview(self._bytes(key))
            for part in wanted:
                if part.offset + part.length > len(data):
                    raise CorruptObject(
                        f"{key}: {part.length} bytes from {part.offset} are wanted, "
                        f"the object has {len(data)}"
                    )
                found.append(data[part.offset : part.offset + part.length])
            return found
        finally:
            self._meter.count("get", len(wanted), bytes_in=sum(len(part) for part in found))

    def get_start(self, key: str, most: int) -> Buffer:
        data: Buffer = b""
        try:
            data = memoryview(self._bytes(key))[:most]
            return data
        finally:
            self._meter.count("get", bytes_in=len(data))

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._put(key, parts, replace=True)

    def put_if_absent(self, key: str, parts: Sequence[Buffer]) -> None:
        self._put(key, parts, replace=False)

    def head(self, key: str) -> ObjectInfo:
        self._meter.count("head")
        return info_of(key, self._find(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._meter.count("list")
        with self._lock:
            found = [
                info_of(key, it) for key, it in self._objects.items() if key.startswith(prefix)
            ]
        return iter(sorted(found, key=lambda info: info.key))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._meter.count("delete")
            with self._lock:
                found = self._objects.pop(check_key(key), None)
            self._discard(found)

    def close(self) -> None:
        """Forget all objects and remove their files. Tables and buffers handed out stay valid."""
        with self._lock:
            self._closed = True
            self._objects.clear()
            self._held = 0
        self._files.close()

    # Inside

    def _put(self, key: str, parts: Sequence[Buffer], *, replace: bool) -> None:
        size = sum(memoryview(part).nbytes for part in parts)
        written = 0
        try:
            if not replace:
                self._refuse_taken(check_key(key))
            check_key(key)
            with self._lock:
                number = next(self._numbers)
                fits = self._reserve(size)
            stored: Held
            if fits:
                stored = HeldBytes(number, size, b"".join(parts))
            else:
                self._files.put(key, number, parts)
                stored = Spilled(number, size)
            self._insert(key, stored, replace=replace)
            written = size
        finally:
            self._meter.count("put", bytes_out=written)

    def _refuse_taken(self, key: str) -> None:
        # Spares the work of a put that has lost already; _insert decides.
        if key in self._objects:
            raise ObjectExists(f"there already is an object {key}")

    def _reserve(self, size: int) -> bool:
        fits = self._budget is None or self._held + size <= self._budget
        if fits:
            self._held += size
        return fits

    def _insert(self, key: str, stored: Held, *, replace: bool) -> None:
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            before = self._objects.get(key)
            wins = replace or before is None
            if wins:
                self._objects[key] = stored
        self._discard(before if wins else stored)
        if not wins:
            raise ObjectExists(f"there already is an object {key}")

    def _discard(self, gone: Held | None) -> None:
        if isinstance(gone, Spilled):
            self._files.delete(gone.number)
        elif isinstance(gone, HeldRows):
            self._share.give(gone.held)
        elif gone is not None:
            with self._lock:
                self._held -= gone.held if isinstance(gone, HeldTables) else gone.size

    def _find(self, key: str) -> Held:
        found = self._objects.get(check_key(key))
        if found is None:
            raise ObjectMissing(f"there is no object {key}")
        return found

    def _bytes(self, key: str) -> Buffer:
        found, data = self._load(key)
        if isinstance(found, HeldTables | HeldRows):
            encoded = encode_object(producer_of(key, found.index.nonce), tables_of(found))
            return b"".join(encoded.parts)
        return data

    def _load(self, key: str) -> tuple[Held, Buffer]:
        """Return an object, and its bytes unless it is kept as tables."""
        while True:
            found = self._find(key)
            if isinstance(found, HeldTables | HeldRows):
                return found, b""
            if isinstance(found, HeldBytes):
                return found, memoryview(found.data)
            try:
                return found, self._files.get(found.number)
            except ObjectMissing as error:
                if self._objects.get(key) is found:
                    raise StoreError(f"the file of {key} has disappeared") from error
                # Replaced or deleted since it was found: look again.
