"""Charts of runs, each as SVG text."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from starling_py.tpch.summary import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

__all__ = ["Bars", "CostLine", "bars", "break_even", "stacked"]

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A8A8A", "#F0E442")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "starling",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_WIDTH, _HEIGHT = 10.0, 3.4
_GROUP = 0.8
"""The share of a query's place that its bars fill."""


@dataclass(frozen=True, slots=True)
class Bars:
    """A value for each query, and perhaps a range. A query that is missing has no bar."""

    label: str
    values: dict[int, float]
    ranges: dict[int, tuple[float, float]] | None = None


@dataclass(frozen=True, slots=True)
class CostLine:
    """Dollars per query, for which a run by the hour pays with each query."""

    label: str
    dollars: float


def bars(series: Sequence[Bars], label: str, *, level: float | None = None) -> str:
    """Return bars in groups, a group for each query; ``level`` draws a line to compare with."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        queries = sorted({query for each in series for query in each.values})
        width = _GROUP / max(len(series), 1)
        for number, each in enumerate(series):
            places = [
                at + (number - (len(series) - 1) / 2) * width
                for at, query in enumerate(queries)
                if query in each.values
            ]
            shown = [query for query in queries if query in each.values]
            heights = [each.values[query] for query in shown]
            errors = None
            if each.ranges is not None:
                low = [max(each.values[q] - each.ranges[q][0], 0.0) for q in shown]
                high = [max(each.ranges[q][1] - each.values[q], 0.0) for q in shown]
                errors = [low, high]
            axes.bar(
                places,
                heights,
                width * 0.92,
                label=each.label,
                color=_COLOURS[number % len(_COLOURS)],
                yerr=errors,
                error_kw={"linewidth": 0.8, "ecolor": "#444444"},
            )
        if level is not None:
            axes.axhline(level, color="#444444", linewidth=1)
        _by_query(axes, queries, label, columns=len(series))
        return _svg(figure)


def stacked(profiles: dict[int, tuple[float, ...]], label: str) -> str:
    """Return one bar a query, of the parts of its profile."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        queries = sorted(profiles)
        bottoms = [0.0] * len(queries)
        for number, name in enumerate(PARTS):
            heights = [max(profiles[query][number], 0.0) for query in queries]
            axes.bar(
                range(len(queries)),
                heights,
                _GROUP,
                bottom=bottoms,
                label=name,
                color=_COLOURS[number % len(_COLOURS)],
            )
            bottoms = [a + b for a, b in zip(bottoms, heights, strict=True)]
        _by_query(axes, queries, label, columns=len(PARTS))
        return _svg(figure)


def break_even(lines: Sequence[CostLine], server: str, hourly: float) -> str:
    """Return dollars per hour over queries per hour, and what runs all the time as a level."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        meets = [hourly / line.dollars for line in lines if line.dollars > 0]
        most = 2 * max(meets, default=1.0)
        for number, line in enumerate(lines):
            colour = _COLOURS[number % len(_COLOURS)]
            axes.plot([0, most], [0, most * line.dollars], color=colour, label=line.label)
            if line.dollars > 0:
                axes.plot([hourly / line.dollars], [hourly], "o", color=colour)
        axes.axhline(
            hourly, color="#444444", linewidth=1, linestyle="--", label=f"{server}, always on"
        )
        axes.set_xlabel("queries an hour")
        axes.set_ylabel("dollars an hour")
        axes.set_xlim(0, most)
        axes.set_ylim(0, 2.2 * hourly if hourly else None)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend(loc="upper left")
        return _svg(figure)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    return figure, figure.subplots()


def _by_query(axes: Axes, queries: Sequence[int], label: str, *, columns: int) -> None:
    axes.set_xticks(range(len(queries)), [f"Q{query}" for query in queries])
    axes.set_xlim(-0.6, max(len(queries) - 0.4, 0.6))
    axes.set_ylabel(label)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(max(columns, 1), 4))


def _svg(figure: Figure) -> str:
    made = io.StringIO()
    figure.savefig(made, format="svg", metadata={"Date": None})
    text = made.getvalue()
    return text[text.index("<svg") :]
