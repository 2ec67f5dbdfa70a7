"""Runs as one HTML page that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from starling_py.tpch.errors import ReportMissing, TpchError
from starling_py.tpch.measurements import geometric_mean, percentile
from starling_py.tpch.summary import PARTS, dollars, profile_of, totals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starling_py.tpch.charts import Bars, CostLine
    from starling_py.tpch.measurements import Measurements

__all__ = ["Section", "markdown", "report"]

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Section:
    """A chart with its title and what to say of it."""

    title: str
    text: str
    svg: str


def report(runs: Mapping[str, Measurements]) -> str:
    """Return a page on runs, which go by these names.

    Raises
    ------
    TpchError
        If there is nothing to show, or matplotlib or jinja2 are not installed.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401 - better said here than in the middle
    except ImportError as error:
        raise ReportMissing(
            f"{error.name} is not installed", hint="pip install 'starling-py[report]'"
        ) from error
    if not any(run.timed(engine) for run in runs.values() for engine in run.engines):
        raise TpchError("no query was answered in these runs")
    template = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    # What files say of themselves is text, never markup; charts are ours.
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return page.from_string(template).render(
        runs=[(name, _facts(run)) for name, run in runs.items()],
        sections=_sections(runs),
        tables=[(name, *_cells(run)) for name, run in runs.items() if run.kind == "power"],
    )


def markdown(runs: Mapping[str, Measurements]) -> str:
    """Return the tables of runs, and what is to say of each, as Markdown."""
    blocks = []
    for name, run in runs.items():
        lines = [f"## {name}", "", *(f"- {fact}" for fact in _facts(run))]
        if run.kind == "power":
            head, rows = _cells(run)
            lines += ["", _row(head), _row(["---", *("---:" for _ in head[1:])]), *map(_row, rows)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _sections(runs: Mapping[str, Measurements]) -> list[Section]:
    from starling_py.tpch.charts import Bars, CostLine, bars, break_even, stacked

    named = [(name, run, engine) for name, run in runs.items() for engine in run.engines]
    found = [
        Section(
            "Latency",
            "Median seconds of each query; lines from the fastest to the slowest.",
            bars([_latency(f"{name}: {e}", run, e) for name, run, e in named], "seconds"),
        )
    ]
    ratios = [
        Bars(name, {query: _ratio(run, query) for query in run.answered()})
        for name, run in runs.items()
        if len(run.engines) > 1 and run.answered()
    ]
    if ratios:
        means = "; ".join(
            f"{each.label} {geometric_mean(list(each.values.values())):.2f}" for each in ratios
        )
        text = f"Median seconds over those of DuckDB. Geometric means: {means}."
        found.append(Section("Ratios", text, bars(ratios, "engine / DuckDB", level=1.0)))
    ours = {name: run for name, run in runs.items() if run.timed("starling")}
    if ours:
        prices = next(iter(ours.values())).settings.prices
        costs = [
            Bars(name, {query: run.price("starling", query) for query in run.answered("starling")})
            for name, run in ours.items()
        ]
        text = f"Median dollars of each query ({prices.region}, prices of {prices.date})."
        found.append(Section("Cost per query", text, bars(costs, "dollars")))
        lines = [CostLine(name, _mean_price(run)) for name, run in ours.items()]
        found.append(
            Section(
                "Break-even",
                _break_even_text(lines, prices.server, prices.server_hour),
                break_even(lines, prices.server, prices.server_hour),
            )
        )
    for name, run in ours.items():
        if run.kind == "power":
            profiles = {query: profile_of(run, query) for query in run.answered("starling")}
            text = "Where the seconds of each query's median execution went."
            found.append(Section(f"Profile: {name}", text, stacked(profiles, "seconds")))
    return found


def _latency(label: str, run: Measurements, engine: str) -> Bars:
    from starling_py.tpch.charts import Bars

    seconds = {
        query: [each.seconds for each in run.timed(engine, query)] for query in run.answered(engine)
    }
    return Bars(
        label,
        {query: percentile(found, 50) for query, found in seconds.items()},
        {query: (min(found), max(found)) for query, found in seconds.items()},
    )


def _ratio(run: Measurements, query: int) -> float:
    one, other = run.engines
    return run.median(one, query) / run.median(other, query)


def _mean_price(run: Measurements) -> float:
    prices = [run.price("starling", query) for query in run.answered("starling")]
    return sum(prices) / len(prices)


def _break_even_text(lines: Sequence[CostLine], server: str, hourly: float) -> str:
    """Say from which distance between queries on paying for each costs less."""
    words = [
        f"{line.label} at {hourly / line.dollars:,.0f} queries an hour, "
        f"one every {_HOUR * line.dollars / hourly:.2f} s"
        for line in lines
        if line.dollars > 0 and hourly > 0
    ]
    return (
        f"Dollars an hour for queries of the mean price of these, against a {server} at "
        f"{dollars(hourly)} an hour that waits for them. Both cost the same: {'; '.join(words)}. "
        "With fewer queries, paying for each costs less."
    )


def _facts(run: Measurements) -> list[str]:
    settings = run.settings
    chosen = [
        f"{field.replace('_', ' ')} {value}"
        for field in settings.__struct_fields__
        if field not in ("queries", "engines", "prices")
        and (value := getattr(settings, field)) not in (None, False, 0)
    ]
    versions, machine = run.versions, run.machine
    return [
        f"{run.kind} run of {len(settings.queries)} queries at scale {run.scale:g}, {run.started}",
        ", ".join(chosen),
        f"{machine.cores} cores of {machine.processor}, {machine.memory / 2**30:.1f} GiB, "
        f"{machine.system}, load {machine.load:.1f}",
        f"starling {versions.starling} {versions.commit}, duckdb {versions.duckdb}, "
        f"pyarrow {versions.pyarrow}, python {versions.python}",
        *totals(run),
    ]


def _cells(run: Measurements) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table with a row for each query."""
    ours = "starling" in run.engines
    head = ["query", *(f"{engine}, s" for engine in run.engines)]
    head += ["ratio"] if len(run.engines) > 1 else []
    head += ["dollars", "requests", "tasks", "shuffled, MB", "peak, MiB", *PARTS] if ours else []
    rows = []
    for query in run.answered():
        row = [f"Q{query}", *(f"{run.median(engine, query):.3f}" for engine in run.engines)]
        row += [f"{_ratio(run, query):.2f}"] if len(run.engines) > 1 else []
        if ours:
            mine = run.timed("starling", query)
            row += [
                dollars(run.price("starling", query)),
                f"{mine[-1].requests.requests:,}",
                f"{mine[-1].tasks}",
                f"{mine[-1].shuffled / 1e6:.1f}",
                f"{max(each.peak for each in mine) / 2**20:.0f}",
                *(f"{part:.3f}" for part in profile_of(run, query)),
            ]
        rows.append(row)
    return head, rows
