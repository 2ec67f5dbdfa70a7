"""An instance and a store to run single tasks on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from starling_py.operators.instance import Instance
from starling_py.operators.run import run_task
from starling_py.shuffle.errors import StarlingError
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.local import LocalStore
from starling_py.shuffle.memory import MemoryStore
from starling_py.shuffle.read import read_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Room:
    """Runs tasks and reads what they wrote."""

    def __init__(self, store, instance: Instance) -> None:
        self.store = store
        self.instance = instance

    def report(self, spec, **options):
        return run_task(spec, self.store, self.instance, **options)

    def table(self, spec):
        """Run a task and return all its partitions, one after the other."""
        report = self.report(spec)
        if report.error is not None:
            raise StarlingError.from_record(report.error)
        return self.read(spec, 0, len(report.index.partitions))

    def read(self, spec, first: int, last: int):
        return read_runs(self.store, [PartitionRun(spec.key, "", first, last)])

    def rows(self, spec) -> list[tuple]:
        return [tuple(row.values()) for row in self.table(spec).to_pylist()]

    def leftovers(self) -> list:
        """Return the views and tables that the instance has, which should be none."""
        found = self.instance.connection.sql(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal "
            "UNION ALL SELECT table_name FROM duckdb_tables()"
        )
        return found.to_arrow_table().to_pylist()


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator:
    made = MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "objects")
    yield made
    made.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    instance = Instance(tmp_path / "spill")
    store = MemoryStore()
    yield Room(store, instance)
    instance.close()
    store.close()


@pytest.fixture
def shuffle_room(store, tmp_path: Path) -> Iterator[Room]:
    instance = Instance(tmp_path / "spill")
    yield Room(store, instance)
    instance.close()
