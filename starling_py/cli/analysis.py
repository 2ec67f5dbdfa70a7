"""What the stages of a query did, beside what was expected, as text."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from rich.text import Text

from starling_py.cli.grid import console
from starling_py.cli.report import count, requests, seconds, size, skew
from starling_py.output import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starling_py.analysis import StageAnalysis

__all__ = ["show_analysis"]

_INDENT = 10


def show_analysis(stages: Sequence[StageAnalysis], run_seconds: float) -> None:
    """Print an analysis, stage by stage."""
    shown = console()
    for stage in stages:
        for line in _stage(stage):
            shown.print(line, soft_wrap=True)
    shown.print(_field("ran", _total(stages, run_seconds)), soft_wrap=True)


def _stage(stage: StageAnalysis) -> Iterator[Text]:
    took = f"slowest {seconds(stage.seconds)}, CPU {seconds(stage.cpu_seconds)}"
    yield Text(f"stage {stage.stage}  {printable(stage.label)}", "bold")
    yield _field("took", f"{count(stage.tasks, 'task')}, {took}")
    if stage.q_error is None:
        yield _field("rows", f"{stage.rows:,}, of which nothing was expected")
        yield _field("bytes", size(stage.bytes))
    else:
        factor = f"q-error {stage.q_error:,.2f}"
        yield _field("rows", f"{stage.expected_rows:,.0f} expected, {stage.rows:,} found: {factor}")
        yield _field("bytes", f"{size(stage.expected_bytes)} expected, {size(stage.bytes)} found")
    if stage.requests.requests:
        yield _field("asked", requests(stage.requests))
    if stage.busiest is not None:
        yield _field("note", skew(stage.busiest), "yellow")
    yield Text()


def _total(stages: Sequence[StageAnalysis], run_seconds: float) -> str:
    known = [(stage.q_error, stage.stage) for stage in stages if stage.q_error is not None]
    text = f"in {seconds(run_seconds)}"
    if known:
        worst, where = max(known)
        middle = median(factor for factor, _ in known)
        text += f"; q-error of rows: median {middle:,.2f}, largest {worst:,.2f} (stage {where})"
    return text


def _field(name: str, value: str, style: str = "") -> Text:
    label = f"  {name}"
    return Text(f"{label:<{_INDENT}}", "dim").append(Text(value, style))
