"""The memory that is there, as the machine and its control groups tell."""

from __future__ import annotations

import pytest

from starling_py.coordinator import machine


def test_the_default_is_most_of_what_is_free():
    free = machine.available_memory()
    assert 0 < machine.default_memory() <= free + (1 << 30)


@pytest.mark.parametrize(("limit", "left"), [("max", None), ("1000", 1000 - 400 + 150)])
def test_a_control_group_leaves_its_limit_less_what_is_used(tmp_path, limit, left):
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("400\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 150\nfile 200\n")
    found = machine._left(tmp_path, "memory.max", "memory.current")  # noqa: SLF001
    assert found == left


def test_no_control_group_is_no_limit(tmp_path):
    assert machine._left(tmp_path, "memory.max", "memory.current") is None  # noqa: SLF001


def test_there_is_a_core():
    assert machine.available_cores() >= 1
