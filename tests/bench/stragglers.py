"""What mitigation of stragglers buys: reads and writes of S3 where some requests take far longer.

Run by ``make bench-stragglers``. A real server stands behind a proxy that adds 14 ms to every
request, 2 s to 0.5 % of the GETs and 1 s to 30 % of the large PUTs, the same ones in every run.
Each row of the table writes objects of 8 MiB, reads ranges of 256 KiB of them, and does more
against stragglers than the row above.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from starling_py.shuffle.hedge_policy import HedgePolicy
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.objects import ByteRange, ReadRequest, copy_key
from starling_py.shuffle.write_policy import WritePolicy

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))

from faults import Slow
from s3_proxy import FaultProxy
from s3_servers import S3Server, running_server

MEBIBYTE = 1 << 20
OBJECT = 8 * MEBIBYTE
READ = 256 << 10
LARGE = 8 * MEBIBYTE
LATENCY = 0.014
LINK = 1e9  # bytes a second: nothing but the loopback, and not the narrow way out of a function
WARM_UP = 64  # reads of each row that are not timed
TARGET = 5.0  # p99.9 of a read over its median, with everything on


@dataclass(frozen=True)
class Row:
    """What is done against stragglers."""

    name: str
    reads: int = 1  # in parallel
    hedged_reads: bool = False
    hedged_writes: bool = False
    doublewrite: bool = False


ROWS = (
    Row("none"),
    Row("parallel reads", 16),
    Row("+ read mitigation", 16, True),
    Row("+ write mitigation", 16, True, True),
    Row("+ doublewrite", 16, True, True, True),
)


@dataclass(frozen=True)
class Result:
    """What a row took. Requests are counted at the proxy."""

    row: Row
    reads: list[float]
    writes: list[float]
    seconds: float
    asked: RequestCounts
    told: RequestCounts
    extra: int

    @property
    def ratio(self) -> float:
        return quantile(self.reads, 0.999) / quantile(self.reads, 0.5)


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def timed(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def measure(server: S3Server, row: Row, reads: int, writes: int, seed: int) -> Result:
    """Write, read and delete as a row says."""
    source = random.Random(seed)
    data = source.randbytes(OBJECT)
    keys = [f"query/{number:03d}" for number in range(writes)]
    slow = [
        Slow("get", 0.005, 2.0, seed=seed),
        Slow("put", 0.3, 1.0, at_least=LARGE, seed=seed),
    ]
    with FaultProxy(server, latency=LATENCY, slow=slow) as proxy:
        store = proxy.server.store(
            parallel_reads=row.reads,
            hedge=HedgePolicy(enabled=row.hedged_reads, bandwidth=LINK),
            write=WritePolicy(enabled=row.hedged_writes, bandwidth=LINK),
        )

        def write(key: str) -> None:
            store.put_if_absent(key, [data])
            if row.doublewrite:
                store.put_if_absent(copy_key(key), [data])

        def read(number: int) -> float:
            key = keys[number % writes]
            offset = starts[number]
            places = [key, copy_key(key) if row.doublewrite else ""]
            if row.doublewrite and number % 2:
                places.reverse()
            request = ReadRequest(places[0], ByteRange(offset, READ), places[1])
            found: list[object] = []
            seconds = timed(lambda: found.extend(store.read_many([request])))
            if found != [data[offset : offset + READ]]:
                raise SystemExit(f"{key} from {offset} is not what was written")
            return seconds

        starts = [source.randrange(OBJECT - READ) for _ in range(max(reads, WARM_UP))]
        with contextlib.closing(store), contextlib.ExitStack() as stack:
            writers = stack.enter_context(ThreadPoolExecutor(2))
            readers = stack.enter_context(ThreadPoolExecutor(row.reads))
            begun = time.perf_counter()
            written = list(writers.map(lambda key: timed(lambda: write(key)), keys))
            between = time.perf_counter()
            list(
                readers.map(read, range(WARM_UP))
            )  # connections open, and the store knows its pace
            resumed = time.perf_counter()
            got = list(readers.map(read, range(reads)))
            seconds = time.perf_counter() - resumed + between - begun
            asked, told = proxy.counts(), store.meter.snapshot()
            store.delete([info.key for info in store.list("")])
        needed = WARM_UP + reads + writes * (1 + row.doublewrite)
        return Result(row, got, written, seconds, asked, told, asked.requests - needed)


def show(results: list[Result], console: Console) -> None:
    table = Table(title="256 KiB reads and 8 MiB writes, milliseconds")
    table.add_column("mitigation", no_wrap=True)
    names = ("read p50", "p99", "p99.9", "p99.9/p50", "write p50", "p99", "total s", "requests")
    for name in (*names, "extra", "won"):
        table.add_column(name, justify="right")
    for one in results:
        table.add_row(
            one.row.name,
            *(f"{quantile(one.reads, share) * 1000:,.0f}" for share in (0.5, 0.99, 0.999)),
            f"{one.ratio:.1f}",
            *(f"{quantile(one.writes, share) * 1000:,.0f}" for share in (0.5, 0.99)),
            f"{one.seconds:.1f}",
            f"{one.asked.requests:,}",
            f"{one.extra:,}",
            f"{one.told.hedges_won:,}",
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="ministack", choices=("ministack", "moto"))
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--writes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="*", default=range(len(ROWS)))
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(options.server, Path(folder)) as server,
    ):
        results = [
            measure(server, ROWS[number], options.reads, options.writes, options.seed)
            for number in options.rows
        ]
    show(results, console)
    last = results[-1]
    console.print(
        f"seed {options.seed}, {os.cpu_count()} cores; with everything on, p99.9 of a read is "
        f"{last.ratio:.1f} times its median (at most {TARGET:.0f})"
    )
    return 0 if last.ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
