"""Scans on S3: sized by what they fetch, in whole row groups, without a file in sight."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.operators.plan import ScanRead, Stage
from starling_py.planner.plan import Planner, PlanOptions
from starling_py.planner.tables import ColumnRange, DataFile, RowGroup, Table, TableColumn

MEGABYTE = 1_000_000
ROWS = 100_000  # of a row group


class Remote:
    """A table ``t`` with columns a, b and c, of which c has half of the bytes."""

    name = "t"
    columns = tuple(TableColumn(name, "BIGINT", name) for name in "abc")

    def __init__(self, files: list[list[int]]) -> None:
        self.sizes = files
        self.files = tuple(
            DataFile(
                path=f"s3://bucket/t/{number}.parquet",
                size=sum(groups) + 1000,
                mtime_ns=0,
                rows=ROWS * len(groups),
                row_groups=tuple(RowGroup(at * ROWS, ROWS, size) for at, size in enumerate(groups)),
                etag=f"e{number}",
                footer=900,
            )
            for number, groups in enumerate(files)
        )
        self.filenames = tuple(file.path for file in self.files)

    def column_ranges(self, column: str) -> tuple[ColumnRange, ...]:
        groups = [at for groups in self.sizes for at in range(len(groups))]
        if column != "a":
            return tuple(ColumnRange(None, None, 0) for _ in groups)
        return tuple(
            ColumnRange(number * ROWS, (number + 1) * ROWS - 1, 0) for number in range(len(groups))
        )

    def column_bytes(self, column: str) -> int:
        return sum(map(sum, self.sizes)) * (2 if column == "c" else 1)


class Catalog:
    def __init__(self, table: Remote) -> None:
        self.table = table

    def find(self, name: str) -> Table | None:
        return self.table if name == "t" else None

    def names(self) -> tuple[str, ...]:
        return ("t",)

    def open_paths(self, patterns: tuple[str, ...], options: Mapping[str, object]) -> Table:
        raise AssertionError(patterns, options)

    def roots(self) -> tuple[str, ...]:
        return ()


def planned(sql: str, files: list[list[int]], tasks: int | None = None) -> tuple[Stage, ...]:
    options = PlanOptions(tasks, 2, 2, 8 << 30)
    planner = Planner()
    try:
        return planner.plan(sql, Catalog(Remote(files)), options, "q").stages
    finally:
        planner.close()


def fetched(stage: Stage, files: list[list[int]], share: float) -> list[float]:
    """Return the bytes that each task fetches, and check that it takes whole row groups."""
    (read,) = stage.inputs
    assert isinstance(read, ScanRead)
    sizes = dict(enumerate(files))
    found = []
    for split in read.splits:
        total = 0.0
        for one in split:
            assert one.etag
            assert one.footer == 900
            assert one.first_row % ROWS == one.last_row % ROWS == 0
            groups = sizes[int(one.etag[1:])]
            total += share * sum(groups[one.first_row // ROWS : one.last_row // ROWS])
        found.append(total)
    return found


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(1 * MEGABYTE, 170 * MEGABYTE), min_size=1, max_size=6),
        min_size=1,
        max_size=12,
    )
)
def test_a_task_fetches_at_most_300_megabytes(files):
    scan, *_ = planned("SELECT sum(a), sum(b), sum(c) FROM t", files)
    found = fetched(scan, files, 1.0)
    total = sum(map(sum, files))
    assert sum(found) == total
    assert max(found) <= 300 * MEGABYTE
    assert scan.composed
    # About as many as the bytes need: one for each 128 MB, or both workers for less.
    assert len(found) <= max(2, -(-total // (128 * MEGABYTE)))


def test_columns_that_are_not_read_do_not_count():
    files = [[60 * MEGABYTE] * 10]
    assert len(fetched(planned("SELECT sum(c) FROM t", files)[0], files, 0.5)) == 3
    assert len(fetched(planned("SELECT sum(b) FROM t", files)[0], files, 0.25)) == 2
    assert len(fetched(planned("SELECT sum(b) FROM t WHERE a < 5", files)[0], files, 0.25)) == 1


@pytest.mark.parametrize("sql", ["SELECT sum(a) FROM t", "SELECT b, sum(a) FROM t GROUP BY b"])
def test_what_is_fetched_at_once_is_one_stage_of_one_task(sql):
    (stage,) = planned(sql, [[2 * MEGABYTE] * 3])
    assert (stage.tasks, stage.composed) == (1, True)
    columns = {column.field for column in stage.inputs[0].columns}
    assert columns < {"a", "b", "c"}


def test_more_tasks_than_row_groups_share_none():
    files = [[2 * MEGABYTE] * 3]
    scan, *_ = planned("SELECT sum(a) FROM t", files, tasks=8)
    assert scan.tasks == 8
    found = fetched(scan, files, 1.0)
    assert sorted(found) == [0.0] * 5 + [2.0 * MEGABYTE] * 3
