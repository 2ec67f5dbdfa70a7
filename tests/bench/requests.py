"""The requests of a shuffle on S3, direct and through combiners, beside the paper's formulas.

Run as ``python tests/bench/requests.py``, or by ``make bench-shuffle``. Requests are counted by a
proxy before a real S3 server and, independently, by the engine's tasks. s producers write and r
consumers read; a combiner reads 1/p of the partitions of 1/f of the producers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))

from counted_shuffle import counted_shuffle
from s3_proxy import FaultProxy
from s3_servers import S3_SERVERS, running_server

from starling_py.operators.plan import Combining

SHUFFLES = (
    (8, 8, None),
    (8, 8, Combining(2, 2)),
    (32, 16, None),
    (32, 16, Combining(2, 4)),
    (32, 16, Combining(4, 8)),
    (64, 32, None),
    (64, 32, Combining(4, 8)),
    (96, 16, None),
    (96, 16, Combining(2, 12)),
)


def line(proxy: FaultProxy, s: int, r: int, split: Combining | None) -> tuple[str, bool]:
    counted = counted_shuffle(proxy, s, r, split)
    if split is None:
        ours, puts, fractions = s * r, s, f"{'-':>6} {'-':>6}"
    else:
        groups, objects = split.partition_groups, split.producer_groups
        ours, puts = s * groups + r * objects, s + groups * objects
        fractions = f"{f'1/{groups}':>6} {f'1/{objects}':>6}"
    text = (
        f"{s:>4} {r:>4} {fractions} {2 * ours:>9} {ours:>9} {counted.gets:>11} "
        f"{counted.metered_gets:>9} {puts:>9} {counted.puts:>11} {counted.metered_puts:>9}"
    )
    gets = counted.gets == counted.metered_gets == ours
    return text, gets and counted.puts == counted.metered_puts == puts


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=S3_SERVERS, default="moto")
    chosen = parser.parse_args()
    exact = True
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(chosen.server, Path(folder)) as server,
        FaultProxy(server) as proxy,
        mock.patch.dict(os.environ, server.environment()),
    ):
        say(f"Requests on {chosen.server}. The paper: 2sr, 2(s/p + r/f) GETs; here half of that.")
        say(
            f"{'s':>4} {'r':>4} {'p':>6} {'f':>6} {'paper':>9} {'GET':>9} {'at server':>11} "
            f"{'by meter':>9} {'PUT':>9} {'at server':>11} {'by meter':>9}"
        )
        for s, r, split in SHUFFLES:
            text, agrees = line(proxy, s, r, split)
            exact &= agrees
            say(text)
    if not exact:
        say("Some counts are not those of the formulas.")
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
