"""Errors of DuckDB and of the machine become typed ones."""

from __future__ import annotations

import errno

import duckdb
import pytest

from starling_py.operators.errors import OutOfMemory, TaskFailed
from starling_py.operators.failures import typed_error
from starling_py.operators.task import Setting
from starling_py.shuffle.errors import CorruptObject, StoreFull


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StoreFull),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), StoreFull),
        (OSError(errno.EIO, "Input/output error"), TaskFailed),
        (MemoryError(), OutOfMemory),
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), StoreFull),
        (duckdb.ConversionException("Conversion Error: no"), TaskFailed),
        (duckdb.IOException("IO Error: Failed to read file"), TaskFailed),
        (ZeroDivisionError("x"), TaskFailed),
        (CorruptObject("x"), CorruptObject),
    ],
)
def test_each_error_has_its_type(error, kind):
    found = typed_error(error)
    assert type(found) is kind
    assert found.message
    assert "\n" not in found.message


def test_no_room_for_spilling_is_a_typed_error(plans, room):
    spec = plans.spec(
        "SELECT sum(r)::BIGINT FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS r"
        " FROM range(3000000))",
        ["BIGINT"],
        memory_limit=40 << 20,
        settings=(Setting("max_temp_directory_size", "1MB"),),
    )
    assert room.report(spec).error.code == StoreFull.code
