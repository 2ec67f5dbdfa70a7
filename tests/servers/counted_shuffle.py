"""A shuffle of any size on S3, with its requests counted where they arrive."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from s3_proxy import FaultProxy
from s3_servers import BUCKET

from starling_py.engine import Engine, EngineOptions
from starling_py.operators.plan import (
    Combining,
    Delivery,
    Estimate,
    ExchangeRead,
    ResultColumn,
    Stage,
    StagePlan,
)
from starling_py.operators.task import HashPartitioning, InputColumn, SinglePartition
from starling_py.planner.combining import with_combiners
from starling_py.shuffle.locations import S3Location

ROWS = 64
"""Of a producer for each consumer: so many that none gets nothing."""
PARTITIONS = 4
"""For each consumer."""

COLUMNS = (InputColumn("c0", "BIGINT"), InputColumn("c1", "BIGINT"))


@dataclass(frozen=True)
class Counted:
    """Requests for what producers and combiners write, of the server and of the tasks' meters."""

    gets: int
    puts: int
    metered_gets: int
    metered_puts: int


def shuffle_plan(s: int, r: int, split: Combining | None, query: str) -> StagePlan:
    """Return a plan whose only exchange by hash has ``s`` producers and ``r`` consumers."""
    hashed = HashPartitioning(("c0",), PARTITIONS * r)
    read = ExchangeRead("input_0", 0, 0, Delivery.PARTITIONED, COLUMNS)
    estimate = Estimate(1.0, 1.0)
    write = f"SELECT range AS c0, 1::BIGINT AS c1 FROM range({ROWS * r})"
    count = "SELECT count(*) AS c0, sum(c0)::BIGINT AS c1 FROM input_0"
    one = (SinglePartition(),)
    stages = (
        Stage(0, "write", write, COLUMNS, (), (hashed,), s, 1, estimate),
        Stage(1, "count", count, COLUMNS, (read,), one, r, 1, estimate),
    )
    return StagePlan(
        query,
        "",
        with_combiners(stages, lambda *_: split),
        (ResultColumn("rows", "BIGINT"), ResultColumn("sum", "BIGINT")),
        (),
        (),
    )


def counted_shuffle(proxy: FaultProxy, s: int, r: int, split: Combining | None = None) -> Counted:
    """Run a shuffle through a proxy, without small outputs in reports and without second GETs.

    The environment must have the server's keys.
    """
    options = proxy.server.exact_options()
    objects = S3Location(BUCKET, proxy.server.new_prefix(), options)
    plan = shuffle_plan(s, r, split, "counted")
    with Engine(EngineOptions(workers=2, memory=1 << 30, objects=objects, payload=0)) as engine:
        proxy.reset()
        result = engine.run(plan)
    rows = ROWS * r
    assert sum(result.table["c0"].to_pylist()) == s * rows
    assert sum(result.table["c1"].to_pylist()) == s * rows * (rows - 1) // 2
    last = plan.stages[-1].id
    shuffled = Counter(
        seen.asked.kind
        for seen in proxy.log
        if (found := re.search(r"/stage-(\d+)/", seen.asked.path)) and int(found[1]) < last
    )
    requests = [(report.stage, report.metrics.requests) for report in result.reports]
    return Counted(
        gets=shuffled["get"],
        puts=shuffled["put"],
        metered_gets=sum(counts.get for _, counts in requests),
        metered_puts=sum(counts.put for stage, counts in requests if stage != last),
    )
