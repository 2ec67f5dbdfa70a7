"""The instance is a closed box."""

from __future__ import annotations

import pytest

from starling_py.operators.quoting import encode_path


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT content FROM read_text('/proc/self/environ')",
        "SELECT content FROM read_text('{outside}/secret.txt')",
        "SELECT content FROM read_text('{inside}/../secret.txt')",
        "SELECT file FROM glob('/etc/*')",
        "SELECT variable FROM a_python_variable",
    ],
)
def test_nothing_outside_the_roots_is_seen(plans, room, tmp_path, statement):
    import pyarrow as pa

    a_python_variable = pa.table({"variable": ["seen"]})
    (tmp_path / "secret.txt").write_text("secret")
    text = statement.format(outside=tmp_path, inside=plans.folder)
    report = room.report(plans.spec(text, ["VARCHAR"]))
    assert report.error is not None or report.metrics.rows_out == 0
    assert a_python_variable.num_rows == 1


def test_what_is_in_the_roots_is_seen(plans, room):
    (plans.folder / "open.txt").write_text("open")
    statement = f"SELECT content FROM read_text('{plans.folder}/open.txt')"
    assert room.rows(plans.spec(statement, ["VARCHAR"])) == [("open",)]


def test_a_task_with_other_roots_opens_another_box(plans, room, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.txt").write_text("b")
    assert room.report(plans.spec("SELECT 1", ["INTEGER"])).error is None
    statement = f"SELECT content FROM read_text('{other}/b.txt')"
    assert room.report(plans.spec(statement, ["VARCHAR"])).error is not None
    spec = plans.spec(statement, ["VARCHAR"], roots=(encode_path(str(other)),))
    assert room.rows(spec) == [("b",)]
    (plans.folder / "a.txt").write_text("a")
    statement = f"SELECT content FROM read_text('{plans.folder}/a.txt')"
    closed = plans.spec(statement, ["VARCHAR"], roots=(encode_path(str(other)),))
    assert room.report(closed).error is not None


def test_threads_and_memory_are_those_of_the_task(plans, room):
    statement = "SELECT current_setting('threads')::INTEGER, current_setting('memory_limit')"
    for threads, limit, text in ((1, 100 << 20, "100.0 MiB"), (3, 200 << 20, "200.0 MiB")):
        spec = plans.spec(statement, ["INTEGER", "VARCHAR"], threads=threads, memory_limit=limit)
        assert room.rows(spec) == [(threads, text)]


def test_closing_removes_the_temporary_directory(plans, room, tmp_path):
    assert room.report(plans.spec("SELECT 1", ["INTEGER"])).error is None
    room.instance.close()
    assert not (tmp_path / "spill").exists()
    assert room.report(plans.spec("SELECT 1", ["INTEGER"])).error is None
