"""Runs as lines of text: one a query, and totals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from starling_py import RequestCounts
from starling_py.tpch.measurements import Profile, geometric_mean, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.tpch.measurements import Execution, Measurements

__all__ = ["PARTS", "dollars", "event", "header", "line", "profile_of", "totals"]

PARTS = Profile.__struct_fields__
"""The names of the parts of a profile, in order."""

_MEBIBYTE = 1 << 20
_HOUR = 3600.0


def header(engines: Sequence[str]) -> str:
    """Return the head of the table of a power run."""
    columns = [f"{'query':<5}"]
    columns += [f"{engine:>12} {'min':>7} {'max':>7}" for engine in engines]
    if len(engines) > 1:
        columns.append(f"{'ratio':>6}")
    if "starling" in engines:
        columns.append(f"{'tasks':>5} {'shuffled':>9} {'requests':>8} {'peak':>9} {'dollars':>10}")
    return "  ".join(columns)


def line(executions: Sequence[Execution], engines: Sequence[str]) -> str:
    """Return the line of one query: the median of each engine, its range, and more of ours."""
    query = executions[0].query
    columns = [f"Q{query:<4}"]
    medians = []
    for engine in engines:
        mine = [e.seconds for e in executions if e.engine == engine and not (e.warm_up or e.error)]
        medians.append(percentile(mine, 50))
        if mine:
            columns.append(f"{medians[-1]:>10.3f} s {min(mine):>7.3f} {max(mine):>7.3f}")
        else:
            columns.append(f"{'failed':>12} {'':>7} {'':>7}")
    if len(engines) > 1:
        columns.append(f"{medians[0] / medians[1]:>6.2f}")
    ours = [e for e in executions if e.engine == "starling" and not (e.warm_up or e.error)]
    if ours:
        last = ours[-1]
        columns.append(
            f"{last.tasks:>5} {last.shuffled / 1e6:>6.1f} MB {last.requests.requests:>8,} "
            f"{max(e.peak for e in ours) / _MEBIBYTE:>5.0f} MiB "
            f"{dollars(percentile([e.dollars for e in ours], 50)):>10}"
        )
    reasons = [e.error or e.difference for e in executions if e.error or e.difference]
    return "  ".join(columns) + (f"  {reasons[0]}" if reasons else "")


def event(execution: Execution) -> str:
    """Return a line on one execution of a throughput run."""
    what = execution.error or f"{execution.seconds:.3f} s"
    return (
        f"{execution.began + execution.seconds:>8.2f} s  stream {execution.stream:<3} "
        f"Q{execution.query:<3} {what}"
    )


def totals(measured: Measurements) -> list[str]:
    """Return what is to say of the whole run."""
    lines = []
    queries = measured.answered()
    for engine in measured.engines:
        mine = measured.timed(engine)
        if not mine:
            lines.append(f"{engine}: no query was answered")
            continue
        lines.append(_times(measured, engine, queries))
        peak = max(each.peak for each in mine) / _MEBIBYTE
        asked = sum((each.requests for each in mine), RequestCounts())
        said = f"{engine}: peak {peak:,.0f} MiB"
        if engine == "starling":
            said += f", {asked.requests:,} requests, {asked.bytes_in / 1e6:,.1f} MB in"
            said += f", {asked.bytes_out / 1e6:,.1f} MB out, {_price(mine)}"
        lines.append(said)
    if len(measured.engines) > 1:
        lines.append(_ratios(measured, queries))
    if measured.kind == "power" and measured.timed("starling"):
        lines.append(_profile(measured))
    failed = measured.failures()
    if failed:
        numbers = sorted({each.query for each in failed})
        lines.append(f"failed or different: {', '.join(f'Q{number}' for number in numbers)}")
    return lines


def _times(measured: Measurements, engine: str, queries: tuple[int, ...]) -> str:
    mine = [each.seconds for each in measured.timed(engine)]
    if measured.kind == "throughput":
        hourly = len(mine) * _HOUR / measured.seconds
        percentiles = ", ".join(f"p{p} {percentile(mine, p):.3f} s" for p in (50, 90, 99))
        return (
            f"{engine}: {len(mine)} queries in {measured.settings.streams} streams in "
            f"{measured.seconds:.2f} s, {hourly:,.0f} an hour, {percentiles}"
        )
    medians = [measured.median(engine, query) for query in queries]
    return (
        f"{engine}: total of medians {sum(medians):.3f} s, geometric mean "
        f"{geometric_mean(medians):.3f} s, {len(medians)} queries"
    )


def _price(executions: Sequence[Execution]) -> str:
    by_query: dict[int, list[float]] = {}
    for each in executions:
        by_query.setdefault(each.query, []).append(each.dollars)
    once = sum(percentile(values, 50) for values in by_query.values())
    paid = sum(each.paid for each in executions)
    return f"{dollars(once)} for all queries once, {dollars(paid)} paid"


def _ratios(measured: Measurements, queries: tuple[int, ...]) -> str:
    one, other = measured.engines
    ratios = [measured.median(one, query) / measured.median(other, query) for query in queries]
    whole = measured.total(one, queries) / measured.total(other, queries) if queries else math.nan
    return (
        f"{one} over {other}: ratio of totals {whole:.2f}, "
        f"geometric mean of ratios {geometric_mean(ratios):.2f}"
    )


def _profile(measured: Measurements) -> str:
    parts = [sum(column) for column in zip(*_rows(measured), strict=True)]
    whole = sum(parts)
    shares = [
        f"{name} {part / whole:.0%}"
        for name, part in zip(PARTS, parts, strict=True)
        if whole and part / whole >= 0.005
    ]
    return f"starling's time: {', '.join(shares)}"


def _rows(measured: Measurements) -> list[tuple[float, ...]]:
    return [profile_of(measured, query) for query in measured.answered("starling")]


def profile_of(measured: Measurements, query: int) -> tuple[float, ...]:
    """Return the parts of the profile of a query's median execution, in the order of PARTS."""
    mine = sorted(measured.timed("starling", query), key=lambda each: each.seconds)
    profile = mine[len(mine) // 2].profile
    return tuple(getattr(profile, name) for name in PARTS)


def dollars(amount: float) -> str:
    """Return an amount with two digits, or more where it is large."""
    if not amount > 0:
        return "$0"
    decimals = max(2, 1 - math.floor(math.log10(amount)))
    return f"${amount:,.{decimals}f}"
