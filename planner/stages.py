"""Freezes drafts into stages: statements, inputs, splits, estimates, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from starling_py.operators.plan import (
    Estimate,
    ExchangeRead,
    ScanRead,
    Stage,
    StageInput,
)
from starling_py.operators.task import (
    FileRange,
    InputColumn,
    ScanColumn,
    ScanSource,
    SinglePartition,
)
from starling_py.planner.algebra import (
    DistinctOn,
    Group,
    GroupingSets,
    Join,
    Limit,
    Node,
    Recursive,
    Sample,
    Scan,
    SetOperation,
    Sort,
    StageRead,
    TableCall,
    Unnest,
    Window,
    walk,
)
from starling_py.planner.clustering import share_of_ranges
from starling_py.planner.expressions import Column
from starling_py.planner.fragments import Spread
from starling_py.planner.remote import Fetch, fetch_estimate, on_s3
from starling_py.planner.sizing import Sizing, borders, cut, whole_row_groups
from starling_py.planner.splitting import splittable_reads
from starling_py.planner.sql import statement
from starling_py.planner.statistics import Estimator, Relation
from starling_py.planner.tables import ColumnSource, TableColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.footers import Footers
    from starling_py.planner.fragments import Draft

__all__ = ["freeze", "input_columns", "scan_column", "scan_read"]


def freeze(drafts: Sequence[Draft], footers: Footers, sizing: Sizing) -> tuple[Stage, ...]:
    """Return the stages of finished drafts."""
    estimator = _StageEstimator(footers)
    stages = []
    for draft in drafts:
        made = statement(draft.fragment.node)
        splittable = {id(read) for read in splittable_reads(draft.fragment.node)}
        reads = tuple(
            _input(
                *(f"input_{at}", leaf, draft.fragment.tasks, footers, sizing),
                splittable=id(leaf) in splittable,
            )
            for at, leaf in enumerate(made.leaves)
        )
        relation = estimator.of_draft(draft)
        stages.append(
            Stage(
                id=draft.number,
                label=_label(draft.fragment.node),
                statement=made.text,
                columns=input_columns(draft.columns),
                inputs=reads,
                outputs=tuple(draft.outputs) or (SinglePartition(),),
                tasks=draft.fragment.tasks,
                threads=sizing.threads(draft.fragment.tasks),
                estimate=Estimate(rows=relation.rows, bytes=relation.bytes),
                fallback=draft.fragment.alone,
                composed=True,
                keeps_join_order=estimator.knows_better(draft.fragment.node),
                divisible=draft.fragment.spread in (Spread.SPLIT, Spread.HASHED),
            )
        )
    return tuple(stages)


def input_columns(columns: Sequence[Column]) -> tuple[InputColumn, ...]:
    """Return columns as they cross stages."""
    return tuple(InputColumn(column.name, column.type) for column in columns)


def scan_column(name: str, column: TableColumn) -> ScanColumn:
    """Return a table's column as a scan input reads it."""
    source = {
        ColumnSource.FILE: ScanSource.FIELD,
        ColumnSource.HIVE: ScanSource.CONSTANT,
        ColumnSource.ROW_NUMBER: ScanSource.ROW_NUMBER,
    }[column.source]
    return ScanColumn(name, column.type, source, column.field)


def _input(
    name: str,
    leaf: Scan | StageRead,
    tasks: int,
    footers: Footers,
    sizing: Sizing,
    *,
    splittable: bool,
) -> StageInput:
    if isinstance(leaf, StageRead):
        columns_read = input_columns(leaf.columns)
        return ExchangeRead(
            *(name, leaf.stage, leaf.output, leaf.delivery, columns_read),
            splittable=splittable,
            key=leaf.key,
        )
    columns = tuple(scan_column(item.name, item.column) for item in leaf.scanned)
    return scan_read(name, leaf, columns, 1 if leaf.replicated else tasks, footers, sizing)


def _with_constants(file: FileRange, wanted: list[int]) -> FileRange:
    return msgspec.structs.replace(file, constants=tuple(file.constants[at] for at in wanted))


def scan_read(
    name: str,
    scan: Scan,
    columns: tuple[ScanColumn, ...],
    tasks: int,
    footers: Footers,
    sizing: Sizing,
    fetched: Sequence[Fetch] = (),
) -> ScanRead:
    """Return the read of a scan's share by each of ``tasks`` tasks, as the relation ``name``.

    ``fetched`` is what it fetches, where that is not what the scan says.
    """
    total = sum(len(file.row_groups) for file in scan.table.files)
    kept = footers.kept(scan)
    if scan.cut is None:
        # Two tasks that share a row group on S3 would both fetch all of it.
        within = sizing.options.tasks is not None and not on_s3(scan.table)
        splits = cut(kept, tasks, within_row_groups=within)
        begins = borders(kept, splits)
        conditions: tuple[str, ...] = ()
    else:
        shares = share_of_ranges(scan, scan.cut, kept)
        begins = ()
        splits = tuple(whole_row_groups(share.row_groups) for share in shares)
        conditions = tuple(share.condition for share in shares)
    # Constants of columns that are not read are not carried.
    hive = [c.name for c in scan.table.columns if c.source is ColumnSource.HIVE]
    wanted = [
        hive.index(item.column.name)
        for item in scan.scanned
        if item.column.source is ColumnSource.HIVE
    ]
    if scan.scanned and wanted != list(range(len(hive))):
        splits = tuple(tuple(_with_constants(file, wanted) for file in split) for split in splits)
    fetched = fetched or (fetch_estimate(scan, kept),)
    return ScanRead(
        name,
        scan.table.name,
        columns,
        splits,
        scan.replicated,
        total,
        total - len(kept),
        conditions,
        begins,
        bytes=sum(fetch.bytes for fetch in fetched),
        gets=sum(fetch.gets for fetch in fetched),
    )


_SEVERAL_JOINS = 2
_REPEATED = 2.0


class _StageEstimator:
    """Estimates a draft's rows, with what is known of the drafts that it reads."""

    def __init__(self, footers: Footers) -> None:
        self._drafts: dict[int, tuple[Draft, Relation]] = {}
        self._estimator = Estimator(footers, stage_reads=self._of_read)

    def of_draft(self, draft: Draft) -> Relation:
        made = self._estimator.estimate(draft.fragment.node)
        self._drafts[draft.number] = (draft, made)
        return made

    def knows_better(self, node: Node) -> bool:
        """Return whether DuckDB would misjudge joins with what other stages send.

        It takes the values of every column of an Arrow table for distinct. Where they are not,
        it expects far too few rows of a join, and of several joins it begins with the worst.
        """
        joins = [part for part in walk(node) if isinstance(part, Join)]
        if len(joins) < _SEVERAL_JOINS:
            return False
        repeated = {
            name
            for part in walk(node)
            if isinstance(part, StageRead)
            for name, facts in self._estimator.estimate(part).columns.items()
            if facts.distinct * _REPEATED < self._estimator.estimate(part).rows
        }
        keys = (
            side for j in joins for c in j.conditions if c.equates for side in (c.left, c.right)
        )
        return any(isinstance(key, Column) and key.name in repeated for key in keys)

    def _of_read(self, read: StageRead) -> tuple[Relation, tuple[Column, ...]]:
        draft, relation = self._drafts[read.stage]
        return relation, draft.columns


def _label(node: Node) -> str:
    words: list[str] = []
    for part in walk(node):
        match part:
            case Scan(table=table):
                words.append(f"scan {table.name}")
            case Join(kind=kind):
                words.append(f"{kind.lower()} join")
            case Group(aggregates=calls, keys=keys):
                words.append(("aggregate" if calls else "distinct") if keys else "total")
            case Window():
                words.append("window")
            case GroupingSets():
                words.append("aggregate")
            case DistinctOn():
                words.append("distinct on")
            case Unnest():
                words.append("unnest")
            case Sample():
                words.append("sample")
            case Recursive():
                words.append("recursion")
            case TableCall(text=text):
                words.append(text.partition("(")[0])
            case Sort():
                words.append("sort")
            case Limit():
                words.append("limit")
            case SetOperation(kind=kind):
                words.append(kind.lower())
    return ", ".join(dict.fromkeys(reversed(words))) or "pass on"
