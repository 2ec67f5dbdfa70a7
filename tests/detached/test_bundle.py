"""A coordinator out of the bundle that would be uploaded, with nothing else on its path."""

from __future__ import annotations

import zipfile

from starling_py.deploy.bundle import LIMIT, Bundle
from starling_py.deploy.contents import COORDINATOR, WORKER

SQL = "SELECT k % 4001 AS g, sum(k) AS s FROM numbers GROUP BY g ORDER BY g"


def test_a_query_from_a_bundle(numbers, built_coordinator: Bundle):
    assert built_coordinator.unzipped < LIMIT
    assert built_coordinator.manifest.handler == COORDINATOR.handler
    with zipfile.ZipFile(built_coordinator.path) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0].split(".")[0].split("-")[0] for name in names}
    assert {"boto3", "botocore", "duckdb", "obstore", "pyarrow", "sqlglot"} <= tops
    assert not tops & {"click", "rich", "awslambdaric", "moto"}
    ours = {name.split("/")[1] for name in names if name.startswith("starling_py/")}
    assert {"detached", "planner", "worker"} <= ours
    assert not ours & {"deploy", "local_lambda", "tpch"}
    services = {name.split("/")[2] for name in names if name.startswith("botocore/data/")}
    assert {name for name in services if not name.endswith(".json")} == {"lambda"}

    numbers.serve(coordinator={"bundle": built_coordinator.path, "handler": COORDINATOR.handler})
    query = numbers.detach(SQL, "--tasks", "3")
    done = numbers.starling("attach", query, "--scratch", numbers.scratch, "--format", "csv", "-q")
    wanted = "".join(f"{g},{sum(range(g, 10_000, 4001))}\n" for g in range(4001))
    assert (done.exit_code, done.output) == (0, f"g,s\n{wanted}")


def test_a_coordinator_has_all_that_a_worker_has():
    python = (3, 13)
    assert set(WORKER.requirements(python)) < set(COORDINATOR.requirements(python))
    assert COORDINATOR.groups(python)[0] == WORKER.groups(python)[0]
