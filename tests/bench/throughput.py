"""What partitioning costs: rows cut and written with LZ4, against the same rows written whole.

Run as ``python tests/bench/throughput.py``, or with other tables and numbers of partitions by
``make bench-shuffle``. Both sides run on one core and write to memory. Their CPU time counts, and
they take turns, so that what else runs on the machine slows down both of a pair.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa
from pyarrow import ipc

from starling_py.shuffle.format import Producer, decode_partition, encode_object
from starling_py.shuffle.partition import partition_expression, split_batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.shuffle.format import EncodedObject

BATCH_ROWS = 1 << 17
SCALE = 0.25
PRODUCER = Producer("bench", 0, 0, "nonce")


class Case(NamedTuple):
    """A statement whose rows are written, the key that they are cut by, and the ratio to hold."""

    statement: str
    key: str
    target: float


CASES = {
    # Keys, amounts, ratios and days as fact tables have them, in no order.
    "fixed width": Case(
        """SELECT hash(i, 1)::UBIGINT % 1_500_000_000::UBIGINT AS id,
        (hash(i, 2) % 50_000)::INTEGER AS small,
        (hash(i, 3) / 18446744073709551616)::DOUBLE AS ratio,
        (hash(i, 4) % 10_000_000 / 100)::DOUBLE AS price,
        DATE '1992-01-01' + (hash(i, 5) % 2500)::INTEGER AS day,
        ((hash(i, 6) % 10_000_000) / 100)::DECIMAL(15, 2) AS amount,
        ((hash(i, 7) % 1_000_000_000_000) / 10000)::DECIMAL(30, 4) AS total
        FROM range(2_000_000) AS t(i)""",
        "id",
        0.75,
    ),
    "lineitem": Case("SELECT * FROM '{lineitem}'", "l_orderkey", 0.65),
    "strings": Case(
        """SELECT l_comment, l_shipinstruct, l_shipmode,
        format('Customer#{{:09d}}', (l_orderkey * 7919) % 37_500) AS customer,
        md5(l_orderkey || '-' || l_linenumber) AS digest
        FROM '{lineitem}'""",
        "digest",
        0.55,
    ),
}


class Kept:
    """A file that keeps what it is given, as a store in memory would."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[memoryview] = []

    def write(self, data: bytes | pa.Buffer) -> int:
        part = memoryview(data)
        self.parts.append(part)
        return part.nbytes

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def unpartitioned(table: pa.Table) -> int:
    """Write one Arrow stream with LZ4; return its bytes."""
    sink = Kept()
    options = ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with ipc.new_stream(sink, table.schema, options=options) as stream:
        stream.write_table(table)
    return sum(part.nbytes for part in sink.parts)


def partitioned(table: pa.Table, count: int) -> EncodedObject:
    parts = split_batches(table.to_batches(), table.schema, "p", count)
    return encode_object(PRODUCER, parts, codec="lz4")


def read(encoded: EncodedObject, data: memoryview) -> int:
    """Decode every partition; return the rows."""
    rows = 0
    for number, entry in enumerate(encoded.index.partitions):
        part = data[entry.offset : entry.offset + entry.length]
        found = decode_partition("bench", number, entry, part)
        rows += 0 if found is None else found.num_rows
    return rows


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call, of all threads, and free what it made outside of them."""
    gc.collect()
    start = time.process_time()
    made = work()
    seconds = time.process_time() - start
    del made
    return seconds


def table_of(case: Case, count: int, lineitem: str) -> pa.Table:
    """Return the rows as a worker gets them from DuckDB, with their partition numbers."""
    rows = case.statement.format(lineitem=lineitem)
    number = partition_expression([case.key], count)
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("SET arrow_lossless_conversion = true")
        relation = connection.sql(f"SELECT *, {number} AS p FROM ({rows})")
        return relation.to_arrow_reader(BATCH_ROWS).read_all()


def measure(name: str, count: int, lineitem: str, rounds: int) -> str:
    case = CASES[name]
    table = table_of(case, count, lineitem)
    bare = table.drop_columns(["p"])
    encoded = partitioned(table, count)
    data = memoryview(b"".join(encoded.parts))
    whole = unpartitioned(bare)
    assert read(encoded, data) == table.num_rows
    times = [
        (
            cpu(lambda: unpartitioned(bare)),
            cpu(lambda: partitioned(table, count)),
            cpu(lambda: read(encoded, data)),
        )
        for _ in range(rounds)
    ]
    once, cut, decoded = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one[0] / one[1] for one in times)
    return (
        f"{name:<12} {count:>10} {bare.nbytes / 1e6:>6.0f} {whole / 1e6:>7.1f}"
        f" {len(data) / 1e6:>7.1f} {once * 1e3:>8.0f} {cut * 1e3:>8.0f} {decoded * 1e3:>8.0f}"
        f" {ratio:>7.0%} {case.target:>7.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="*", choices=[*CASES], default=[*CASES])
    parser.add_argument("--partitions", nargs="*", type=int, default=[8, 64, 512])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", type=Path, help="a folder of TPC-H; made for the run without")
    chosen = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        data = chosen.data
        if data is None:
            data = Path(folder, "tpch")
            starling = Path(sys.executable).with_name("starling")
            subprocess.run(
                [starling, "tpch", "generate", "--scale", str(SCALE), "--output", data],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        lineitem = str(data / "lineitem" / "*.parquet")
        say("CPU milliseconds on one core, megabytes; ratio: unpartitioned / partitioned")
        say(
            f"{'table':<12} {'partitions':>10} {'arrow':>6} {'whole':>7} {'cut':>7}"
            f" {'whole ms':>8} {'cut ms':>8} {'read ms':>8} {'ratio':>7} {'target':>7}"
        )
        for name in chosen.tables:
            for count in chosen.partitions:
                say(measure(name, count, lineitem, chosen.rounds))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
