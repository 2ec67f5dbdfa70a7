"""The shuffle object: one object per producer task, all its partitions inside.

``docs/shuffle-format.md`` describes every byte. In short: a prefix of fixed size that tells how
long the header is; the header with the producer, the schema and the index of the partitions;
then the partitions, each an Arrow IPC stream, and none of them for an empty one. Prefix, header
and each partition carry a CRC-32, and there is no byte that none of them covers.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
from pyarrow import ipc

from starling_py.shuffle.checksum import crc32
from starling_py.shuffle.errors import CorruptObject
from starling_py.shuffle.index import Codec, ObjectIndex, PartitionEntry
from starling_py.shuffle.partition import PARTITION_FUNCTION
from starling_py.shuffle.unions import whole_unions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.shuffle.objects import Buffer

__all__ = [
    "PREFIX_BYTES",
    "Codec",
    "EncodedObject",
    "ObjectHeader",
    "Producer",
    "decode_header",
    "decode_object",
    "decode_partition",
    "decode_prefix",
    "encode_object",
    "producer_of",
]


PREFIX_BYTES = 32
"""Bytes of the prefix: the first read of a reader that knows nothing."""

_MAGIC = b"STARLSHF"
_VERSION = 1
_PREFIX = struct.Struct("<8sHHIIQ")  # magic, version, 0, header's length and CRC, object's size
_FIXED = struct.Struct("<IIBxxxI")  # stage, task, codec, number of partitions
_ENTRY = struct.Struct("<QQQI")  # offset, length, rows, CRC
_LENGTH = struct.Struct("<I")
_ALIGNMENT = 64
_LARGE_ROWS = 1 << 16  # handing over the buffers of so many rows costs less than copying them
_CHUNK_ROWS = 1 << 13  # chunks of fewer rows are joined before they are compressed
_CODECS: tuple[Codec, ...] = ("none", "lz4")


class Producer(msgspec.Struct, frozen=True):
    """Which attempt of which task wrote an object."""

    query: str
    stage: int
    task: int
    nonce: str


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """What stands before the partitions. ``function`` names the partitioning function."""

    producer: Producer
    function: str
    codec: Codec
    schema: pa.Schema
    index: ObjectIndex


@dataclass(frozen=True, slots=True)
class EncodedObject:
    """An object ready to be put: its index, and the buffers whose concatenation it is."""

    index: ObjectIndex
    parts: tuple[Buffer, ...]
    size: int


class _Parts:
    """A sink that keeps what it is given: Arrow's own buffers stay where they are."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.size = 0
        self.crc = 0

    def write(self, data: bytes | pa.Buffer) -> int:
        part = memoryview(data)
        if part.nbytes:
            self.parts.append(part)
            self.size += part.nbytes
            self.crc = crc32(part, self.crc)
        return part.nbytes

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _write(sink: _Parts, table: pa.Table, options: ipc.IpcWriteOptions) -> None:
    """Write an Arrow stream, in one piece where it would be many small compressed buffers."""
    if options.compression is None or table.num_rows >= _LARGE_ROWS:
        with ipc.new_stream(sink, table.schema, options=options) as stream:
            stream.write_table(table)
        return
    with pa.BufferOutputStream() as piece:
        with ipc.new_stream(piece, table.schema, options=options) as stream:
            stream.write_table(_joined(table))
        sink.write(piece.getvalue())


def _joined(table: pa.Table) -> pa.Table:
    """Join small chunks: every buffer of every chunk is compressed on its own, which costs.

    Short buffers compress less, too.
    """
    if not table.num_columns or table.num_rows >= _CHUNK_ROWS * table.column(0).num_chunks:
        return table
    try:
        return table.combine_chunks()
    except pa.ArrowException:  # dictionaries that together exceed the type of their indices …
        return table


def _padding(size: int) -> bytes:
    return bytes(-size % _ALIGNMENT)


def encode_object(
    producer: Producer,
    partitions: Sequence[pa.Table],
    *,
    codec: Codec = "none",
    function: str = PARTITION_FUNCTION,
) -> EncodedObject:
    """Return the object that holds ``partitions``.

    Uncompressed, the buffers of the tables are used as they are: they must not change before
    the object is written.

    Raises
    ------
    ValueError
        If there is no partition, or their schemas differ.
    """
    if not partitions:
        raise ValueError("a shuffle object has at least one partition")
    schema = partitions[0].schema
    options = ipc.IpcWriteOptions(compression=None if codec == "none" else codec, use_threads=False)
    encoded = []
    for number, table in enumerate(partitions):
        if number and not table.schema.equals(schema, check_metadata=True):
            raise ValueError(f"partition {number} has another schema than partition 0")
        sink = _Parts()
        if table.num_rows:
            _write(sink, whole_unions(table), options)
            sink.write(_padding(sink.size))
        encoded.append(sink)

    fixed = _header_start(producer, function, codec, schema, len(partitions))
    length = len(fixed) + _ENTRY.size * len(partitions)
    padding = _padding(PREFIX_BYTES + length)
    length += len(padding)
    entries = []
    offset = PREFIX_BYTES + length
    for table, sink in zip(partitions, encoded, strict=True):
        entries.append(PartitionEntry(offset, sink.size, table.num_rows, sink.crc))
        offset += sink.size
    header = b"".join(
        (
            fixed,
            *(_ENTRY.pack(entry.offset, entry.length, entry.rows, entry.crc) for entry in entries),
            padding,
        )
    )
    start = _PREFIX.pack(_MAGIC, _VERSION, 0, len(header), crc32(header), offset)
    parts: list[Buffer] = [start + _LENGTH.pack(crc32(start)) + header]
    for sink in encoded:
        parts.extend(sink.parts)
    return EncodedObject(ObjectIndex(producer.nonce, tuple(entries)), tuple(parts), offset)


def _header_start(
    producer: Producer, function: str, codec: Codec, schema: pa.Schema, count: int
) -> bytes:
    variable = (
        producer.query.encode(),
        producer.nonce.encode(),
        function.encode(),
        memoryview(schema.serialize()),
    )
    pieces: list[Buffer] = [_FIXED.pack(producer.stage, producer.task, _CODECS.index(codec), count)]
    for text in variable:
        pieces += (_LENGTH.pack(len(text)), text)
    return b"".join(pieces)


def decode_prefix(key: str, data: Buffer) -> int:
    """Return how many bytes prefix and header have together, from the object's first bytes."""
    if len(data) < PREFIX_BYTES:
        raise CorruptObject(f"{key}: {len(data)} bytes are too few for a shuffle object")
    magic, version, flags, length, _, _ = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise CorruptObject(f"{key} is not a shuffle object: it starts with {magic!r}")
    view = memoryview(data)[:PREFIX_BYTES]
    if (crc32(view[: _PREFIX.size]),) != _LENGTH.unpack_from(view, _PREFIX.size):
        raise CorruptObject(f"{key}: the prefix does not match its checksum")
    if version != _VERSION or flags:
        raise CorruptObject(f"{key}: format version {version} is not known")
    return PREFIX_BYTES + int(length)


def decode_header(key: str, data: Buffer) -> ObjectHeader:
    """Return the header, from bytes that start with prefix and header."""
    end = decode_prefix(key, data)
    view = memoryview(data)[:end]
    if len(view) < end:
        raise CorruptObject(f"{key}: the header has {end} bytes, {len(view)} are there")
    if crc32(view[PREFIX_BYTES:]) != _PREFIX.unpack_from(data)[4]:
        raise CorruptObject(f"{key}: the header does not match its checksum")
    try:
        return _parse_header(view)
    except (struct.error, ValueError, IndexError, pa.ArrowException) as error:
        raise CorruptObject(f"{key}: the header makes no sense: {error}") from error


def _parse_header(view: memoryview) -> ObjectHeader:
    stage, task, codec, count = _FIXED.unpack_from(view, PREFIX_BYTES)
    position = PREFIX_BYTES + _FIXED.size
    texts = []
    for _ in range(4):
        (length,) = _LENGTH.unpack_from(view, position)
        position += _LENGTH.size
        texts.append(view[position : position + length])
        position += length
    query, nonce, function = (str(text, "utf-8") for text in texts[:3])
    schema = ipc.read_schema(pa.py_buffer(texts[3]))
    if not count:
        raise ValueError("there is no partition")
    entries: list[PartitionEntry] = []
    end = len(view)
    for _ in range(count):
        entry = PartitionEntry(*_ENTRY.unpack_from(view, position))
        position += _ENTRY.size
        if entry.offset != end:
            raise ValueError(f"partition {len(entries)} does not follow the one before")
        end += entry.length
        entries.append(entry)
    if bytes(view[position:]) != _padding(position):
        raise ValueError("the index is followed by something else")
    if end != _PREFIX.unpack_from(view)[5]:
        raise ValueError("the partitions do not add up to the size of the object")
    return ObjectHeader(
        Producer(query, stage, task, nonce),
        function,
        _CODECS[codec],
        schema,
        ObjectIndex(nonce, tuple(entries)),
    )


def decode_partition(key: str, number: int, entry: PartitionEntry, data: Buffer) -> pa.Table | None:
    """Return partition ``number`` of the object ``key``, or ``None`` for an empty one.

    The table uses the memory of ``data`` where that is not compressed.

    Raises
    ------
    CorruptObject
        If ``data`` is not what ``entry`` describes, byte for byte.
    """
    if len(data) != entry.length:
        raise CorruptObject(
            f"{key}: partition {number} has {entry.length} bytes, {len(data)} are there"
        )
    if crc32(data) != entry.crc:
        raise CorruptObject(f"{key}: partition {number} does not match its checksum")
    if not entry.length:
        if entry.rows:
            raise CorruptObject(f"{key}: partition {number} has {entry.rows} rows in no bytes")
        return None
    try:
        options = ipc.IpcReadOptions(use_threads=False)
        with ipc.open_stream(pa.py_buffer(data), options=options) as stream:
            table = stream.read_all()
    except (OSError, pa.ArrowException) as error:
        raise CorruptObject(f"{key}: partition {number} is no Arrow stream: {error}") from error
    if table.num_rows != entry.rows:
        raise CorruptObject(
            f"{key}: partition {number} has {table.num_rows} rows, its index says {entry.rows}"
        )
    return table


def decode_object(key: str, data: Buffer) -> tuple[ObjectHeader, list[pa.Table]]:
    """Return header and partitions of a whole object."""
    header = decode_header(key, data)
    view = memoryview(data)
    entries = header.index.partitions
    end = entries[-1].offset + entries[-1].length
    if len(view) != end:
        raise CorruptObject(f"{key}: the object has {end} bytes, {len(view)} are there")
    tables = []
    for number, entry in enumerate(entries):
        table = decode_partition(
            key, number, entry, view[entry.offset : entry.offset + entry.length]
        )
        tables.append(header.schema.empty_table() if table is None else table)
    return header, tables


_TASK_KEY = re.compile(r"(?P<query>.*)/stage-(?P<stage>\d+)/task-(?P<task>\d+)\.shuffle")


def producer_of(key: str, nonce: str) -> Producer:
    """Return the producer that a key of ``objects.task_key`` names."""
    found = _TASK_KEY.fullmatch(key)
    if found is None:
        return Producer(key, 0, 0, nonce)
    return Producer(found["query"], int(found["stage"]), int(found["task"]), nonce)
