"""What answers cost on their way to a Python program, beside DuckDB on the same file.

Run as ``python tests/bench/client.py``, or by ``make bench-client``. Each figure is taken in a
process of its own; those of the engine and of DuckDB take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

TEN, FIFTY = 10_000_000, 50_000_000
COLUMNS = """i AS id, (i * 7919) % 1000003 AS a, (i % 1000)::INTEGER AS b,
    ((i * 31) % 100000) / 100.0::DOUBLE AS x, ((i * 17) % 1000000)::DECIMAL(12,2) AS d,
    DATE '2000-01-01' + (i % 9000)::INTEGER AS day,
    TIMESTAMP '2020-01-01' + to_seconds(i % 86400000) AS t, 'customer ' || (i % 50000) AS s"""

TIMED = """
import sys, time
folder, name, form, engine = sys.argv[1:]
if engine == "starling":
    import starling_py
    connection = starling_py.connect(folder, workers=2)
    run = lambda: connection.execute(f"SELECT * FROM {name}")
else:
    import duckdb
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    run = lambda: connection.sql(f"SELECT * FROM '{folder}/{name}.parquet'")
if form == "df":
    import pandas
get = {
    "arrow": lambda made: made.arrow() if engine == "starling" else made.to_arrow_table(),
    "df": lambda made: made.df(),
}[form]
connection.execute("SELECT 1").fetchall()
start = time.perf_counter()
made = get(run())
print(time.perf_counter() - start)
assert len(made) == made.shape[0] > 0
"""

STREAMED = """
import sys, time
from pathlib import Path
def status(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))
import starling_py, pyarrow
connection = starling_py.connect(sys.argv[1], workers=2)
connection.execute("SELECT 1").arrow()
before = status("VmRSS")
start = time.perf_counter()
reader = connection.execute("SELECT * FROM fifty").fetch_record_batch_reader()
rows = sum(batch.num_rows for batch in reader)
print(rows, time.perf_counter() - start, status("VmHWM") - before)
"""

WARM = """
import sys, time, statistics, starling_py
with starling_py.connect(workers=2) as connection:
    took = []
    for _ in range(300):
        start = time.perf_counter()
        connection.execute("SELECT 1").fetchall()
        took.append(time.perf_counter() - start)
print(statistics.median(took[50:]) * 1000)
"""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def output(code: str, *arguments: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return [float(word) for word in done.stdout.split()]


def make(folder: Path, name: str, rows: int) -> None:
    path = folder / f"{name}.parquet"
    if not path.exists():
        part = path.with_suffix(".part")
        copy = f"COPY (SELECT {COLUMNS} FROM range({rows}) r(i)) TO '{part}' (FORMAT parquet)"
        duckdb.execute(copy)
        part.rename(path)


def compared(folder: Path, form: str, runs: int) -> None:
    took: dict[str, list[float]] = {"duckdb": [], "starling": []}
    for _ in range(runs):
        for engine, seconds in took.items():
            seconds += output(TIMED, str(folder), "ten", form, engine)
    theirs, ours = (statistics.median(took[engine]) for engine in ("duckdb", "starling"))
    say(
        f"{TEN:,} rows x 8 columns to {form}: DuckDB {theirs:.2f} s, Starling {ours:.2f} s: "
        f"{theirs / ours:.0%} of DuckDB's speed (best of {runs}: {min(took['duckdb']):.2f} and "
        f"{min(took['starling']):.2f} s)"
    )


def cpu_of(arguments: list[str], runs: int) -> tuple[float, float]:
    """Return the medians of wall-clock and CPU milliseconds of a process."""
    walls, cpus = [], []
    for _ in range(runs):
        before, start = os.times(), time.perf_counter()
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - start)
        after = os.times()
        cpus.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
    return statistics.median(walls) * 1000, statistics.median(cpus) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data", type=Path, help="keep the files (2 GB) in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="starling-bench-") as temporary:
        folder = options.data or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, "ten", TEN)
        for form in ("arrow", "df"):
            compared(folder, form, options.runs)
        make(folder, "fifty", FIFTY)
        rows, seconds, mebibytes = output(STREAMED, str(folder))
        say(f"{rows:,.0f} rows streamed: {seconds:.1f} s, {mebibytes:.0f} MiB above start")
    bare = cpu_of([sys.executable, "-c", "pass"], 20)
    module = cpu_of([sys.executable, "-c", "import starling_py"], 20)
    shown = cpu_of([str(Path(sys.executable).parent / "starling"), "--help"], 20)
    say(
        f"import starling_py: {module[0] - bare[0]:.0f} ms above {bare[0]:.0f} ms, CPU "
        f"{module[1] - bare[1]:.0f} ms"
    )
    say(f"starling --help: {shown[0]:.0f} ms, CPU {shown[1]:.0f} ms")
    (warm,) = output(WARM)
    say(f"SELECT 1, warm: {warm:.1f} ms")


if __name__ == "__main__":
    main()
