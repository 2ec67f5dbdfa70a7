"""The user's own statement on one worker: above the files, or above distributed scans of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.operators.plan import Delivery, Estimate, ExchangeRead, Stage, StageInput
from starling_py.operators.task import InputColumn, ScanSource, SinglePartition
from starling_py.planner.adapter.reads import TableRead, table_reads
from starling_py.planner.algebra import Named, Project, Scan, ScannedColumn, outputs
from starling_py.planner.distribute.scans import cut_scan, table_rows
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Column, Literal
from starling_py.planner.fragments import Draft
from starling_py.planner.remote import Fetch, fetch_estimate, fetched_bytes, on_s3
from starling_py.planner.stages import freeze, scan_column, scan_read
from starling_py.planner.statistics import Estimator
from starling_py.planner.tables import ColumnSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from starling_py.operators.plan import ResultColumn, ScanRead
    from starling_py.operators.task import Variables
    from starling_py.planner.footers import Footers
    from starling_py.planner.sizing import Sizing
    from starling_py.planner.tables import Table, TableColumn

__all__ = ["WholeStatement"]

_QUALIFIED = re.compile(r"\b(main|memory)\b\"?\s*\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WholeStatement:
    """A statement over ``tables``, by the names that it uses, and how to run it as it is.

    ``variables`` returns the values of its parameters.
    """

    text: str
    result: Sequence[ResultColumn]
    tables: Mapping[str, Table]
    footers: Footers
    sizing: Sizing
    variables: Callable[[], Variables | None]

    def stage(self, estimate: Estimate, reason: str = "", scans: Sequence[Scan] = ()) -> Stage:
        """Return the one stage that runs the statement on all cores, over the tables' files.

        ``reason`` is why nothing was distributed, or empty where one task is simply best.
        ``scans`` are what it reads of the tables, where that is known.
        """
        reads = tuple(
            self._scan(name, table, table.columns, scans) for name, table in self.tables.items()
        )
        return self._stage(0, reads, estimate, reason)

    def fallback(self, serialized: Mapping[str, Any] | None, reason: str) -> tuple[Stage, ...]:
        """Return the stages of a statement that ``reason`` keeps from being distributed.

        Of large tables other stages send what the serialized plan reads. What it does not read
        is NULL then.
        """
        unknown = Estimate(rows=0.0, bytes=0.0)
        try:
            reads = table_reads(serialized, self.tables) if serialized else None
        except CannotDistribute:
            reads = None
        if reads is None or _QUALIFIED.search(self.text):
            return (self.stage(unknown, reason),)
        scans = {name: _scan(table, reads[name]) for name, table in self.tables.items()}
        apart = {name for name, scan in scans.items() if self._is_worth_a_stage(scan)}
        if self._runs_alone(scans):
            apart = set()
        drafts: list[Draft] = []
        inputs: list[StageInput] = []
        estimator = Estimator(self.footers)
        for name, scan in scans.items():
            columns = scan.table.columns
            if name not in apart:
                wanted = [item.column for item in scan.scanned]
                inputs.append(self._scan(name, scan.table, wanted, (scan,)))
                continue
            fragment = cut_scan(scan, estimator, self.footers, self.sizing)
            made = fragment.over(_with_nulls(scan, columns))
            crossing = tuple(InputColumn(column.name, column.type) for column in columns)
            drafts.append(Draft(len(drafts), made, outputs(made.node), [SinglePartition()]))
            inputs.append(ExchangeRead(name, drafts[-1].number, 0, Delivery.EVERYTHING, crossing))
        stages = freeze(drafts, self.footers, self.sizing)
        return (*stages, self._stage(len(stages), tuple(inputs), unknown, reason))

    def _runs_alone(self, scans: Mapping[str, Scan]) -> bool:
        """Return whether one task reads everything fastest."""
        if self.sizing.options.tasks is not None:
            return self.sizing.options.tasks == 1
        if any(on_s3(scan.table) for scan in scans.values()):
            fetched = sum(fetched_bytes(s, self.footers.kept(s)) for s in scans.values())
            return self.sizing.fits_one_fetch(fetched)
        estimator = Estimator(self.footers)
        return self.sizing.fits_one_task(sum(estimator.estimate(s).bytes for s in scans.values()))

    def _is_worth_a_stage(self, scan: Scan) -> bool:
        return table_rows(scan) > self.sizing.options.small_rows

    def _scan(
        self, name: str, table: Table, columns: Sequence[TableColumn], scans: Sequence[Scan]
    ) -> ScanRead:
        """Return the read of a table by one task; columns beyond ``columns`` are NULL on S3."""
        read = scan_read(
            name,
            Scan(table, ()),
            tuple(scan_column(column.name, column) for column in table.columns),
            1,
            self.footers,
            self.sizing,
            self._fetched(table, scans),
        )
        return read if len(columns) == len(table.columns) else _unread_as_null(read, columns)

    def _fetched(self, table: Table, scans: Sequence[Scan]) -> list[Fetch]:
        """Return what is fetched of a table: everything, where nobody knows better."""
        if not scans:
            everything = Scan(table, ())
            return [fetch_estimate(everything, self.footers.kept(everything), whole=True)]
        own = [scan for scan in scans if scan.table.name == table.name]
        return [fetch_estimate(each, self.footers.kept(each)) for each in own] or [Fetch(0.0, 0.0)]

    def _stage(
        self, number: int, inputs: tuple[StageInput, ...], estimate: Estimate, reason: str
    ) -> Stage:
        columns = (InputColumn(f"c{at}", column.type) for at, column in enumerate(self.result))
        return Stage(
            id=number,
            label="whole statement",
            statement=self.text,
            columns=tuple(columns),
            inputs=inputs,
            outputs=(SinglePartition(),),
            tasks=1,
            threads=self.sizing.options.cores,
            estimate=estimate,
            fallback=reason,
            variables=self.variables(),
        )


def _scan(table: Table, read: TableRead) -> Scan:
    wanted = [column for column in table.columns if column.name in read.columns]
    # Rows are counted by a column.
    wanted = wanted or [c for c in table.columns if c.source is ColumnSource.FILE][:1]
    scanned = tuple(ScannedColumn(column.name, column) for column in wanted)
    return Scan(table, scanned, read.conditions)


def _with_nulls(scan: Scan, columns: Sequence[TableColumn]) -> Project:
    """Return all columns of a table over a scan of some, with NULL for the others."""
    known = {item.name for item in scan.scanned}
    items = []
    for column in columns:
        null = Literal(f"CAST(NULL AS {column.type})", column.type)
        value = Column(column.name, column.type) if column.name in known else null
        items.append(Named(column.name, value))
    return Project(scan, tuple(items))


def _unread_as_null(read: ScanRead, wanted: Sequence[TableColumn]) -> ScanRead:
    """Return the read with constants, NULL for every file, for all columns but those wanted."""
    names = {column.name for column in wanted}
    columns = []
    positions: list[int | None] = []
    constants = 0
    for column in read.columns:
        constant = column.source is ScanSource.CONSTANT
        if column.name in names:
            columns.append(column)
            positions += [constants] if constant else []
        else:
            columns.append(structs.replace(column, source=ScanSource.CONSTANT))
            positions.append(None)
        constants += constant
    splits = tuple(
        tuple(
            structs.replace(
                file,
                constants=tuple(None if at is None else file.constants[at] for at in positions),
            )
            for file in split
        )
        for split in read.splits
    )
    return structs.replace(read, columns=tuple(columns), splits=splits)
