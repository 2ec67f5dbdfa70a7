"""How long planning takes, from text to stages, for the queries of TPC-H and TPC-DS.

Usage: planner.py TPCH_FOLDER TPCDS_FOLDER
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from starling_py.catalog.catalog import FileCatalog
from starling_py.planner.plan import Planner, PlanOptions
from starling_py.tpch.texts import NUMBERS, text

ROUNDS = 5
TASKS = 8
OPTIONS = PlanOptions(TASKS, 2, 2, 8 << 30)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the planner.")
    parser.add_argument("tpch", type=Path)
    parser.add_argument("tpcds", type=Path)
    asked = parser.parse_args()
    tpch = {f"q{number:02}": text(number) for number in NUMBERS}
    tpcds = {path.stem: path.read_text() for path in sorted((asked.tpcds / "queries").iterdir())}
    sys.stdout.write(
        f"milliseconds a query, {TASKS} tasks, medians of {ROUNDS} of wall-clock time\n"
    )
    sys.stdout.write(
        "suite    queries  median    90 %     max  (of them behind the bind: median)\n"
    )
    for name, folder, texts in (
        ("TPC-H", asked.tpch, tpch),
        ("TPC-DS", asked.tpcds / "tables", tpcds),
    ):
        report(name, folder, texts)


def report(name: str, folder: Path, texts: dict[str, str]) -> None:
    catalog = FileCatalog(str(folder), None)
    planner = Planner()
    total, behind = {}, {}
    for query, sql in texts.items():
        took, planned = zip(*(once(planner, catalog, sql) for _ in range(ROUNDS + 1)), strict=True)
        # The first round reads footers.
        total[query] = statistics.median(took[1:])
        behind[query] = statistics.median(planned[1:])
    planner.close()
    catalog.close()
    times = sorted(total.values())
    slowest = max(total, key=lambda query: total[query])
    sys.stdout.write(
        f"{name:8} {len(times):7} {statistics.median(times):7.1f} "
        f"{times[int(0.9 * len(times))]:7.1f} {times[-1]:7.1f}  "
        f"({statistics.median(behind.values()):.1f}; slowest {slowest})\n"
    )


def once(planner: Planner, catalog: FileCatalog, sql: str) -> tuple[float, float]:
    begun = time.perf_counter()
    catalog.refresh()
    plan = planner.plan(sql, catalog, OPTIONS, "bench")
    return (time.perf_counter() - begun) * 1000, plan.plan_seconds * 1000


if __name__ == "__main__":
    main()
