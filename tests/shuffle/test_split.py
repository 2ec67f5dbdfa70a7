from __future__ import annotations

import decimal
import weakref
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.shuffle import split
from starling_py.shuffle.split import split_batches, split_by_partition

if TYPE_CHECKING:
    from collections.abc import Iterator

Numbers = list[int | None]


def expected(numbers: Numbers, count: int) -> list[list[int]]:
    """Positions of the rows of each partition; the n-th NULL goes to the n-th partition in turn."""
    places: list[list[int]] = [[] for _ in range(count)]
    nulls = 0
    for position, number in enumerate(numbers):
        if number is None:
            nulls += 1
        places[nulls % count if number is None else number].append(position)
    return places


@st.composite
def cases(draw: st.DrawFn) -> tuple[pa.Table, Numbers, int]:
    count = draw(st.integers(1, 9))
    kind = draw(st.sampled_from([pa.uint8(), pa.uint16(), pa.uint32(), pa.int64()]))
    chunks = draw(
        st.lists(st.lists(st.integers(0, count - 1) | st.none(), max_size=30), max_size=6)
    )
    numbers = [number for chunk in chunks for number in chunk]
    texts = [f"text {position}" * (position % 3) for position in range(len(numbers))]
    table = pa.table(
        {
            "row": pa.array(range(len(numbers)), pa.int32()),
            "p": pa.chunked_array([pa.array(chunk, kind) for chunk in chunks], kind),
            "text": pa.array(texts, pa.string()),
        }
    )
    return table, numbers, count


@settings(deadline=None, max_examples=200)
@given(cases(), st.sampled_from([4, 16, 1 << 17]))
def test_rows_and_their_order_are_kept(case: tuple[pa.Table, Numbers, int], rows: int) -> None:
    table, numbers, count = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "_GROUP_ROWS", rows)
        patch.setattr(split, "_MOST_GROUP_ROWS", rows)
        parts = split_by_partition(table, "p", count)
    assert [part.column("row").to_pylist() for part in parts] == expected(numbers, count)
    kept = table.drop_columns(["p"])
    for part in parts:
        part.validate(full=True)
        assert part.schema.equals(kept.schema, check_metadata=True)
        assert part.equals(kept.take(part.column("row")))


def test_nulls_are_dealt_evenly_over_batches() -> None:
    table = pa.table({"a": range(1000), "p": pa.array([None] * 1000, pa.uint8())})
    batches = table.to_batches(max_chunksize=7)
    parts = split_batches(batches, table.schema, "p", 10)
    assert [part.num_rows for part in parts] == [100] * 10


@pytest.mark.parametrize("rows", [100, 200_000])
def test_a_stream_of_batches_is_freed_as_it_goes(rows: int) -> None:
    schema = pa.schema([("a", pa.int64()), ("p", pa.uint8())])
    numbers = pa.array([0, 1] * (rows // 2), pa.uint8())
    given: list[weakref.ref[pa.RecordBatch]] = []

    def stream() -> Iterator[pa.RecordBatch]:
        for _ in range(20):
            alive = sum(reference() is not None for reference in given)
            assert alive <= 1 or rows == 100  # small ones wait to be joined
            batch = pa.record_batch([numbers.cast(pa.int64()), numbers], schema=schema)
            given.append(weakref.ref(batch))
            yield batch
            del batch

    parts = split_batches(stream(), schema, "p", 2)
    assert [part.num_rows for part in parts] == [10 * rows] * 2
    assert [part.column(0).num_chunks for part in parts] == [1 if rows == 100 else 40] * 2


@pytest.mark.parametrize("numbers", [[0, 3], [255], [0, 200, None]])
def test_a_number_out_of_range_is_refused(numbers: Numbers) -> None:
    with pytest.raises(ValueError, match="with 3 partitions"):
        split_by_partition(pa.table({"p": pa.array(numbers, pa.uint8())}), "p", 3)


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(ValueError, match="no column 'q'"):
        split_by_partition(pa.table({"p": [0]}), "q", 3)


def test_rows_without_other_columns_are_still_counted() -> None:
    parts = split_by_partition(pa.table({"p": pa.array([1, 1, 0], pa.uint8())}), "p", 2)
    assert [part.num_columns for part in parts] == [0, 0]
    assert [part.num_rows for part in parts] == [1, 2]


def test_more_partitions_than_rows() -> None:
    table = pa.table({"a": [1, 2], "p": pa.array([65535, 7], pa.uint16())})
    parts = split_by_partition(table, "p", 65536)
    assert len(parts) == 65536
    assert parts[7].to_pydict() == {"a": [2]}
    assert parts[65535].to_pydict() == {"a": [1]}
    assert sum(part.num_rows for part in parts) == 2


LONG = "a string that is longer than twelve bytes"
KINDS = {
    "string": pa.array(["a", None, LONG, ""]),
    "large_string": pa.array(["a", None, LONG, ""], pa.large_string()),
    "string_view": pa.array(["a", None, LONG, ""], pa.string_view()),
    "binary_view": pa.array([b"a", None, LONG.encode(), b""], pa.binary_view()),
    "equally long": pa.array(["ab", "\u00fc", "cd", "ef"]),
    "equally long, large": pa.array(["ab", "\u00fc", "cd", "ef"], pa.large_string()),
    "equally long bytes": pa.array([b"abc", b"def", b"ghi", b"jkl"]),
    "equally long but one": pa.array(["ab", "b", "cdx", "ef"]),
    "equally long but NULL": pa.array(["ab", None, "cd", "ef"]),
    "empty": pa.array(["", "", "", ""]),
    "list": pa.array([[1, None], None, [], [2]]),
    "list of views": pa.array([["a", None], None, [], [LONG]], pa.list_(pa.string_view())),
    "large list of views": pa.array([["a"], None, [], [LONG]], pa.large_list(pa.string_view())),
    "array of views": pa.array(
        [["a", "b"], None, [None, LONG], ["", ""]], pa.list_(pa.string_view(), 2)
    ),
    "struct of views": pa.array(
        [{"a": "x", "b": [1]}, None, {"a": None, "b": None}, {"a": LONG, "b": []}],
        pa.struct([("a", pa.string_view()), ("b", pa.list_(pa.int8()))]),
    ),
    "map": pa.array([[("a", 1)], None, [], [("b", None)]], pa.map_(pa.string(), pa.int32())),
    "map of views": pa.array(
        [[("a", LONG)], None, [], [("b", None)]], pa.map_(pa.string_view(), pa.string_view())
    ),
    "fixed-size list": pa.array([[1, 2], None, [None, 4], [5, 6]], pa.list_(pa.int32(), 2)),
    "dictionary": pa.array(["a", None, "b", "a"]).dictionary_encode(),
    "decimal": pa.array([decimal.Decimal("1.50"), None, None, decimal.Decimal("-2")]),
    "interval": pa.array([(1, 2, 3), None, (0, 0, 0), (4, 5, 6)], pa.month_day_nano_interval()),
    "null": pa.nulls(4),
    "bool": pa.array([True, None, False, True]),
    "uuid": pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"0" * 16, None, b"1" * 16, b"2" * 16], pa.binary(16))
    ),
    "json of views": pa.ExtensionArray.from_storage(
        pa.json_(pa.string_view()), pa.array(["1", None, f'"{LONG}"', "{}"], pa.string_view())
    ),
    "hugeint": pa.ExtensionArray.from_storage(
        pa.opaque(pa.binary(16), "hugeint", "DuckDB"),
        pa.array([b"0" * 16, None, b"1" * 16, b"2" * 16], pa.binary(16)),
    ),
    "sparse union": pa.UnionArray.from_sparse(
        pa.array([0, 1, 0, 1], pa.int8()), [pa.array([1, 2, 3, 4]), pa.array(["a", "b", "c", "d"])]
    ),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("offset", [0, 1])
def test_every_type(name: str, offset: int) -> None:
    """Also in batches that are slices, whose buffers start elsewhere."""
    values = KINDS[name]
    table = pa.table({"v": values, "p": pa.array([2, 0, 2, 0], pa.uint8())}).slice(offset)
    parts = split_by_partition(table, "p", 3)
    rows = values.to_pylist()
    assert [part.column("v").to_pylist() for part in parts] == [
        [rows[1], rows[3]],
        [],
        [rows[2]] if offset else [rows[0], rows[2]],
    ]
    for part in parts:
        assert part.schema.equals(table.drop_columns(["p"]).schema, check_metadata=True)
        part.validate(full=True)


def test_strings_beyond_what_32_bit_offsets_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches whose strings together exceed the limit are not joined (here 4 KiB)."""
    monkeypatch.setattr(split, "_GROUP_BYTES", 1 << 10)
    batch = pa.record_batch({"s": ["x" * 3000, "y"], "p": pa.array([0, 1], pa.uint8())})
    parts = split_batches([batch] * 5, batch.schema, "p", 2)
    assert [part.column("s").num_chunks for part in parts] == [5, 5]
    assert parts[0].column("s").to_pylist() == ["x" * 3000] * 5
