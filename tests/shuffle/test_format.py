from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.shuffle.errors import CorruptObject
from starling_py.shuffle.format import (
    PREFIX_BYTES,
    Codec,
    Producer,
    decode_header,
    decode_object,
    decode_partition,
    decode_prefix,
    encode_object,
    producer_of,
)
from starling_py.shuffle.objects import task_key
from starling_py.shuffle.partition import PARTITION_FUNCTION

if TYPE_CHECKING:
    from collections.abc import Sequence

PRODUCER = Producer("query-1", 3, 14, "a-nonce")

VALUES: dict[pa.DataType, st.SearchStrategy[object]] = {
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=20),
    pa.large_string(): st.text(max_size=20),
    pa.string_view(): st.text(max_size=20),
    pa.binary(): st.binary(max_size=20),
    pa.decimal128(20, 3): st.decimals(-999, 999, places=3),
    pa.date32(): st.dates(),
    pa.timestamp("us", tz="UTC"): st.none(),
    pa.list_(pa.int32()): st.lists(st.integers(0, 9) | st.none(), max_size=4),
    pa.struct([("a", pa.int16()), ("b", pa.list_(pa.string()))]): st.fixed_dictionaries(
        {"a": st.integers(0, 9) | st.none(), "b": st.lists(st.text(max_size=3), max_size=3)}
    ),
    pa.map_(pa.string(), pa.int32()): st.lists(
        st.tuples(st.text(max_size=3), st.integers(0, 9)), max_size=3
    ),
    pa.null(): st.none(),
}


@st.composite
def partitions(draw: st.DrawFn) -> list[pa.Table]:
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), max_size=4))
    schema = pa.schema([(f"c{n}", kind) for n, kind in enumerate(kinds)])

    def batch() -> pa.RecordBatch:
        rows = draw(st.integers(0, 6))
        columns = [
            draw(st.lists(VALUES[kind] | st.none(), min_size=rows, max_size=rows)) for kind in kinds
        ]
        made = pa.RecordBatch.from_arrays(
            [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)],
            schema=schema,
        )
        return made.slice(draw(st.integers(0, rows)))

    counts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    return [pa.Table.from_batches([batch() for _ in range(n)], schema=schema) for n in counts]


def whole(
    tables: Sequence[pa.Table], codec: Codec = "none", producer: Producer = PRODUCER
) -> bytes:
    encoded = encode_object(producer, tables, codec=codec)
    data = b"".join(encoded.parts)
    assert encoded.size == len(data)
    return data


def small() -> list[pa.Table]:
    table = pa.table({"a": [1, 2, None], "ü": ["x", None, "a long string, longer than others"]})
    return [table, table.slice(0, 0), table.slice(1, 2)]


@settings(deadline=None, max_examples=150)
@given(partitions(), st.sampled_from(["none", "lz4"]))
def test_any_partitions_in_the_same_out(tables: list[pa.Table], codec: Codec) -> None:
    data = whole(tables, codec)
    header, read = decode_object("k", data)
    assert header.producer == PRODUCER
    assert header.function == PARTITION_FUNCTION
    assert header.codec == codec
    assert header.schema.equals(tables[0].schema, check_metadata=True)
    assert header.index == encode_object(PRODUCER, tables, codec=codec).index
    assert [entry.rows for entry in header.index.partitions] == [t.num_rows for t in tables]
    for before, after in zip(tables, read, strict=True):
        after.validate(full=True)
        assert after.equals(before, check_metadata=True)


@settings(deadline=None)
@given(st.text(max_size=50), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.text())
def test_any_producer_is_kept(query: str, stage: int, task: int, nonce: str) -> None:
    producer = Producer(query, stage, task, nonce)
    header = decode_header("k", whole(small(), producer=producer))
    assert header.producer == producer
    assert header.index.nonce == nonce


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_any_flipped_byte_is_found(codec: Codec) -> None:
    data = bytearray(whole(small(), codec))
    decode_object("k", data)
    for position in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            data[position] ^= flip
            with pytest.raises(CorruptObject, match="q/key"):
                decode_object("q/key", data)
            data[position] ^= flip


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_any_missing_or_surplus_byte_is_found(codec: Codec) -> None:
    data = whole(small(), codec)
    for position in range(len(data)):
        for broken in (
            data[:position],
            data[position + 1 :] if position else b"",
            data[:position] + data[position + 1 :],
            data[:position] + b"\x00" + data[position:],
            data[:position] + data[position : position + 1] + data[position:],
        ):
            with pytest.raises(CorruptObject, match="q/key"):
                decode_object("q/key", broken)
    for surplus in (b"\x00", b"x", bytes(64), data):
        with pytest.raises(CorruptObject, match="q/key"):
            decode_object("q/key", data + surplus)


@settings(deadline=None)
@given(partitions(), st.data())
def test_damage_to_any_object_is_found(tables: list[pa.Table], data: st.DataObject) -> None:
    good = whole(tables)
    position = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "remove", "zero a page"]))
    if kind == "flip":
        bad = bytearray(good)
        bad[position] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        bad = bytearray(good[:position])
    elif kind == "remove":
        bad = bytearray(good[:position] + good[position + 1 :])
    else:
        bad = bytearray(good)
        bad[position : position + 4096] = bytes(len(bad[position : position + 4096]))
        if bad == good:
            return
    with pytest.raises(CorruptObject):
        decode_object("k", bad)


def test_the_error_says_what_is_wrong() -> None:
    data = whole(small())
    header = decode_header("k", data)
    entry = header.index.partitions[2]
    part = data[entry.offset : entry.offset + entry.length]
    with pytest.raises(CorruptObject, match="k is not a shuffle object"):
        decode_object("k", b"PAR1" + data)
    with pytest.raises(CorruptObject, match="k: 5 bytes are too few"):
        decode_object("k", data[:5])
    with pytest.raises(CorruptObject, match="k: partition 2 does not match its checksum"):
        decode_partition("k", 2, entry, bytes(len(part)))
    with pytest.raises(CorruptObject, match=f"k: partition 2 has {len(part)} bytes, 10 are there"):
        decode_partition("k", 2, entry, part[:10])
    with pytest.raises(CorruptObject, match="k: the object has"):
        decode_object("k", data + b"\x00")


def test_another_version_is_refused_by_name() -> None:
    data = bytearray(whole(small()))
    struct.pack_into("<H", data, 8, 2)
    struct.pack_into("<I", data, PREFIX_BYTES - 4, zlib.crc32(data[: PREFIX_BYTES - 4]))
    with pytest.raises(CorruptObject, match="format version 2 is not known"):
        decode_object("k", data)


def test_layout() -> None:
    """Partitions start at multiples of 64; prefix, header and partitions leave no gap."""
    tables = small()
    data = whole(tables)
    end = decode_prefix("k", data[:PREFIX_BYTES])
    index = decode_header("k", data[:end]).index
    assert end % 64 == 0
    for entry, table in zip(index.partitions, tables, strict=True):
        assert entry.offset == end
        assert entry.length % 64 == 0
        assert (entry.length == 0) == (table.num_rows == 0)
        end += entry.length
    assert end == len(data)
    assert index.bytes == sum(entry.length for entry in index.partitions)
    assert index.rows == 5


def test_neither_encoding_nor_decoding_copies_large_buffers() -> None:
    table = pa.table({"a": pa.array(range(100_000), pa.int64())})
    before = pa.total_allocated_bytes()
    encoded = encode_object(PRODUCER, [table])
    assert pa.total_allocated_bytes() - before < 10_000
    source = table.column(0).chunk(0).buffers()[1]
    addresses = {pa.py_buffer(part).address for part in encoded.parts}
    assert source.address in addresses

    data = b"".join(encoded.parts)
    before = pa.total_allocated_bytes()
    _, [read] = decode_object("k", data)
    assert pa.total_allocated_bytes() - before < 10_000
    inside = read.column(0).chunk(0).buffers()[1].address - pa.py_buffer(data).address
    assert 0 < inside < len(data)


def test_a_slice_is_written_without_the_rest_of_its_table() -> None:
    table = pa.table({"a": range(100_000), "b": [f"text {n}" for n in range(100_000)]})
    assert len(whole([table.slice(50_000, 10)])) < 3000


def test_dictionaries_that_differ_between_chunks() -> None:
    chunks = [pa.array(values).dictionary_encode() for values in (["a", "b"], ["c"], ["b", None])]
    table = pa.table({"e": pa.chunked_array(chunks)})
    _, [read, rest] = decode_object("k", whole([table, table.slice(2)]))
    assert read.column(0).to_pylist() == ["a", "b", "c", "b", None]
    assert rest.column(0).to_pylist() == ["c", "b", None]


def test_small_chunks_are_compressed_together() -> None:
    table = pa.table({"a": range(8000), "b": [f"text {n}" for n in range(8000)]})
    chunks = pa.concat_tables([table.slice(at, 10) for at in range(0, 8000, 10)])
    _, [read] = decode_object("k", whole([chunks], "lz4"))
    assert read.equals(table)
    assert read.column(0).num_chunks == 1
    assert len(whole([chunks], "lz4")) == len(whole([table], "lz4"))


def test_dictionaries_too_large_to_be_joined() -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    chunks = [pa.array([f"{part} {n}" for n in range(100)]).cast(kind) for part in range(3)]
    table = pa.table({"e": pa.chunked_array(chunks)})
    _, [read] = decode_object("k", whole([table], "lz4"))
    assert read.column(0).to_pylist() == table.column(0).to_pylist()


def test_metadata_and_extension_types_survive() -> None:
    kind = pa.opaque(pa.binary(16), "hugeint", "DuckDB")
    array = pa.ExtensionArray.from_storage(kind, pa.array([b"0" * 16, None], pa.binary(16)))
    schema = pa.schema([pa.field("h", kind, metadata={"a": "b"})], metadata={"c": "d"})
    table = pa.Table.from_arrays([array], schema=schema)
    header, [read] = decode_object("k", whole([table]))
    assert header.schema.equals(schema, check_metadata=True)
    assert read.equals(table, check_metadata=True)


def test_what_cannot_be_an_object() -> None:
    with pytest.raises(ValueError, match="at least one partition"):
        encode_object(PRODUCER, [])
    with pytest.raises(ValueError, match="partition 1 has another schema"):
        encode_object(PRODUCER, [pa.table({"a": [1]}), pa.table({"b": [1]})])


def test_the_producer_of_a_key() -> None:
    assert producer_of(task_key("q/uery", 3, 1234567), "n") == Producer("q/uery", 3, 1234567, "n")
    assert producer_of("something else", "n") == Producer("something else", 0, 0, "n")


@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_slice_of_a_union_is_written_without_what_lies_behind_it(codec, nested) -> None:
    """Arrow writes type codes from behind the end of the buffer, which changed the checksum."""
    codes = pa.array([row % 2 for row in range(50)], pa.int8())
    children = [pa.array(range(50), pa.int32()), pa.array([f"t{row}" for row in range(50)])]
    union = pa.UnionArray.from_sparse(codes, children, ["i", "s"])
    column = pa.StructArray.from_arrays([union], ["u"]) if nested else union
    whole = pa.table({"c": column})
    part = whole.slice(30, 10)
    fresh = pa.table({"c": pa.concat_arrays([column.take(pa.array(range(30, 40)))])})
    made, expected = (encode_object(PRODUCER, [table], codec=codec) for table in (part, fresh))
    assert b"".join(made.parts) == b"".join(expected.parts)
    _, (read,) = decode_object("key", b"".join(made.parts))
    assert read.to_pylist() == part.to_pylist()
