"""A plan as text, stage by stage, that reads well in 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, assert_never

from rich.text import Text

from starling_py.cli.grid import console
from starling_py.cli.report import count, dollars, seconds, size
from starling_py.operators.plan import Delivery, ExchangeRead, ScanRead
from starling_py.operators.task import (
    HashPartitioning,
    Partitioning,
    RangePartitioning,
    SamePartitions,
    SinglePartition,
)
from starling_py.output import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starling_py.operators.plan import Combining, Cost, Stage, StagePlan
    from starling_py.shuffle.prices import Prices

__all__ = ["plan_text", "show_plan"]

_WIDTH = 80
_INDENT = 10
_PRETTY = 50_000
"""Characters of a statement that is laid out; longer ones stay as they are."""
_DELIVERIES = {
    Delivery.PARTITIONED: "to each task its share of the partitions",
    Delivery.EVERYTHING: "broadcast, everything to every task",
    Delivery.RANGED: "to each task a range of the sort key",
    Delivery.ALIGNED: "to each task the output of its share of tasks",
    Delivery.COMBINED: "to each task a group of partitions of a group of tasks",
}


def show_plan(plan: StagePlan, prices: Prices) -> None:
    """Print a plan, with what it costs by these prices."""
    shown = console()
    for line in _lines(plan, prices):
        shown.print(line, soft_wrap=True)


def plan_text(plan: StagePlan, prices: Prices) -> str:
    """Return a plan as plain text."""
    return "".join(f"{line.plain.rstrip()}\n" for line in _lines(plan, prices))


def _lines(plan: StagePlan, prices: Prices) -> Iterator[Text]:
    for stage in plan.stages:
        yield from _stage(stage, plan)
        yield Text()
    answer = ", ".join(f"{printable(column.name)} {column.type}" for column in plan.result)
    yield from _field("answer", answer)
    moved = sum(stage.estimate.bytes for stage in plan.stages[:-1])
    took = f"bind {seconds(plan.bind_seconds)}, plan {seconds(plan.plan_seconds)}"
    totals = f"{count(len(plan.stages), 'stage')}, {count(plan.tasks, 'task')}"
    if len(plan.stages) > 1:
        totals += f", about {size(moved)} between stages"
    totals += f"; {took}"
    yield from _field("total", totals)
    costs = [stage.cost for stage in plan.stages]
    yield from _field("price", f"{_price(costs)} ({prices.region}, prices of {prices.date})")


def _stage(stage: Stage, plan: StagePlan) -> Iterator[Text]:
    title = Text(f"stage {stage.id}", "bold")
    title.append(f"  {printable(stage.label)}: {count(stage.tasks, 'task')}", "bold")
    if stage.threads > 1:
        title.append(f" of {stage.threads} threads", "bold")
    yield title
    for read in stage.inputs:
        if isinstance(read, ScanRead):
            yield from _field("reads", _scan(read))
            yield from _ranges(read)
        else:
            yield from _field("reads", _exchange(read, stage.tasks))
    if stage.sink is not None:
        several = ", a folder of files each" if stage.sink.several else ""
        yield from _field("writes", f"{stage.sink.format} files{several}, seen when all are there")
    for output in stage.outputs if stage.sink is None else ():
        yield from _field("writes", _partitioning(output))
    if stage.combining is not None:
        for line in _combining(stage, stage.combining, plan):
            yield from _field("costs", line)
    estimate = stage.estimate
    if stage.fallback:
        # What the planner cannot take apart it cannot estimate either.
        yield from _field("note", f"one task only: {printable(stage.fallback)}", "yellow")
    if estimate.bytes or not stage.fallback:
        yield from _field("expects", f"{_about(estimate.rows)}, {size(estimate.bytes)}")
    yield from _field("price", _price([stage.cost]))
    if stage.statement:
        yield from _sql(stage.statement)


def _field(name: str, value: str, style: str = "") -> Iterator[Text]:
    lines = textwrap.wrap(value, _WIDTH - _INDENT, break_long_words=False) or [""]
    for number, line in enumerate(lines):
        label = f"  {name}" if number == 0 else ""
        yield Text(f"{label:<{_INDENT}}", "dim").append(Text(line, style))


def _scan(read: ScanRead) -> str:
    files = {file.path for split in read.splits for file in split}
    groups = f"{read.row_groups - read.row_groups_pruned} of {count(read.row_groups, 'row group')}"
    text = f"{read.name}: table {printable(read.table)}, {count(len(files), 'file')}, {groups}"
    if read.replicated:
        text += ", whole in every task"
    elif len(read.splits) > 1:
        rows = [sum(file.last_row - file.first_row for file in split) for split in read.splits]
        text += f", at most {count(max(rows), 'row')} a task"
    columns = ", ".join(printable(column.field or column.name) for column in read.columns)
    return f"{text}; columns {columns}" if columns else f"{text}; no columns"


def _ranges(read: ScanRead) -> Iterator[Text]:
    """Say which part of its rows a task takes, by the example of a task in the middle."""
    cut = [task for task, condition in enumerate(read.conditions) if condition]
    if cut:
        task = cut[len(cut) // 2]
        condition = read.conditions[task].removeprefix("(").removesuffix(")")
        yield from _field("", f"cut by key ranges; task {task} takes {printable(condition)}")


def _exchange(read: ExchangeRead, tasks: int) -> str:
    output = f" output {read.output}" if read.output else ""
    everything = read.delivery is Delivery.EVERYTHING and tasks == 1
    how = "gathered in task order" if everything else _DELIVERIES[read.delivery]
    return f"{read.name}: stage {read.stage}{output}, {how}"


def _combining(stage: Stage, split: Combining, plan: StagePlan) -> Iterator[str]:
    """Say what a combiner stage is for, in the letters of the paper."""
    from starling_py.planner.shuffle_cost import Exchange, combined_gets, direct_gets

    producers = sum(
        each.tasks
        for each in plan.stages
        for read in stage.inputs
        if isinstance(read, ExchangeRead) and read.stage == each.id
    )
    consumers = tuple(
        each.tasks
        for each in plan.stages
        for read in each.inputs
        if isinstance(read, ExchangeRead) and read.stage == stage.id
    )
    exchange = Exchange(producers, consumers, stage.outputs[0].count, 0.0, 1, 1.0)
    yield (
        f"{count(combined_gets(exchange, split), 'GET')} and {count(stage.tasks, 'PUT')} "
        f"instead of {count(direct_gets(exchange), 'GET')} without combiners"
    )
    yield (
        f"s = {producers}, r = {exchange.readers}, "
        f"p = 1/{split.partition_groups}, f = 1/{split.producer_groups}"
    )


def _price(costs: Sequence[Cost]) -> str:
    """Say what functions over S3 would cost."""
    gets = sum(cost.scan_gets + cost.exchange_gets for cost in costs)
    puts = sum(cost.puts for cost in costs)
    parts = [count(gets, "GET")] if gets else []
    parts += [count(puts, "PUT")] if puts else []
    parts.append(f"{sum(cost.gigabyte_seconds for cost in costs):.2f} GB s of functions")
    return f"about {dollars(sum(cost.dollars for cost in costs))}: {', '.join(parts)}"


def _partitioning(output: Partitioning) -> str:
    match output:
        case SinglePartition():
            return "one partition"
        case HashPartitioning(keys, number, spread):
            nulls = ", NULL keys spread" if spread else ""
            return f"{count(number, 'partition')} by hash of {', '.join(keys)}{nulls}"
        case RangePartitioning(order=order, count=number):
            return f"{count(number, 'partition')} sorted by {order}"
        case SamePartitions(number):
            return f"{count(number, 'partition')}, as they came"
        case _:
            assert_never(output)


def _about(rows: float) -> str:
    return f"about {count(rows, 'row')}"


def _sql(statement: str) -> Iterator[Text]:
    label = "  SQL"
    for line in _pretty(statement).splitlines():
        for part in textwrap.wrap(
            line,
            _WIDTH - _INDENT,
            subsequent_indent=" " * (len(line) - len(line.lstrip()) + 2),
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        ) or [""]:
            yield Text(f"{label:<{_INDENT}}", "dim").append(printable(part), "cyan")
            label = ""


def _pretty(statement: str) -> str:
    if len(statement) > _PRETTY:
        return statement
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        pretty = sqlglot.transpile(statement, read="duckdb", write="duckdb", pretty=True)
    except (SqlglotError, RecursionError):
        return statement
    return "\n".join(pretty)
