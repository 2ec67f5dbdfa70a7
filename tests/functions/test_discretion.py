"""What functions say of errors holds no value of the data, and still says what is wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from starling_py.operators.errors import OutOfMemory, TaskFailed
from starling_py.operators.instance import Instance
from starling_py.operators.run import run_task
from starling_py.operators.task import ScanColumn, ScanInput, TaskReport
from starling_py.shuffle.memory import MemoryStore
from starling_py.worker.discretion import discreet

# Statements over a column of texts that fail on the data, and what is still said.
FAILING = [
    ("SELECT v::INTEGER AS c0 FROM input_0", "INTEGER", "Could not convert string '…'"),
    ("SELECT v::DATE AS c0 FROM input_0", "DATE", "…"),
    ("SELECT error(v)::INTEGER AS c0 FROM input_0", "INTEGER", "…"),
    ("SELECT error('row ' || v)::INTEGER AS c0 FROM input_0", "INTEGER", "…"),
    ("SELECT json_extract(v, '$.a') AS c0 FROM input_0", "JSON", "Malformed JSON"),
    ("SELECT CAST(v AS ENUM ('a', 'b')) AS c0 FROM input_0", "ENUM('a', 'b')", "…"),
    ("SELECT (n * 1000000)::INTEGER AS c0 FROM input_0", "INTEGER", "…"),
    ("SELECT n::UTINYINT AS c0 FROM input_0", "UTINYINT", "…"),
]
VALUE, NUMBER = 'it\'s "a" secret: 7351', 735173


@pytest.fixture
def failing(plans, tmp_path):
    """Run a statement on a table of one row and return the function's report of its failure."""
    file = plans.parquet(
        "values.parquet", f"SELECT '{VALUE.replace(chr(39), chr(39) * 2)}' AS v, {NUMBER} AS n"
    )
    columns = tuple(
        ScanColumn(name, type_, field=name) for name, type_ in (("v", "VARCHAR"), ("n", "BIGINT"))
    )
    instance = Instance(tmp_path / "spill")
    store = MemoryStore()

    def run(statement: str, type_: str) -> TaskReport:
        spec = plans.spec(statement, [type_], [ScanInput("input_0", columns, (file,))])
        report = run_task(spec, store, instance)
        assert report.error is not None
        return discreet(report, spec)

    yield run
    instance.close()
    store.close()


@pytest.mark.parametrize(("statement", "type_", "words"), FAILING)
def test_no_value_is_told(failing, statement, type_, words):
    error = failing(statement, type_).error
    assert error.code == TaskFailed.code
    assert words in error.message
    for part in ("secret", "7351", str(NUMBER)):
        assert part not in error.message
    assert "on this machine" in error.hint


def test_what_the_user_typed_is_told(failing):
    error = failing("SELECT error('no such luck, 42')::INTEGER AS c0", "INTEGER").error
    assert error.message.endswith("no such luck, 42")
    assert error.hint is None
    error = failing("SELECT 'abc'::INTEGER AS c0", "INTEGER").error
    assert "'abc'" in error.message


def test_other_errors_say_what_they_say(plans):
    spec = plans.spec("SELECT 1", ["INTEGER"])
    text = "could not allocate 256 KiB ('165.8 MiB' used)"
    report = TaskReport("q", 0, 0, 1, "w", error=OutOfMemory(text).record())
    assert discreet(report, spec) == report
    assert discreet(structs.replace(report, error=None), spec).error is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20))
def test_quoted_values_of_any_kind(plans, value):
    spec = plans.spec("SELECT v::INTEGER FROM input_0", ["INTEGER"])
    text = f"Conversion Error: Could not convert string '{value}' to INT32 of column v"
    error = TaskFailed(text).record()
    told = discreet(TaskReport("q", 0, 0, 1, "w", error=error), spec).error.message
    assert told == "Conversion Error: Could not convert string '…' to INT32 of column v" or (
        # Whoever wrote the statement has written this himself.
        value in spec.statement or re.search(r"'", value)
    )
