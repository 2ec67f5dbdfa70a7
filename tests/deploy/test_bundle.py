"""A whole bundle: what is in it, and a task that runs from it alone."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest
from s3_servers import BUCKET, S3Server

from starling_py.deploy.bundle import LIMIT, Bundle, build_bundle
from starling_py.deploy.contents import WORKER
from starling_py.deploy.platform import Platform, this_platform
from starling_py.operators.quoting import encode_path
from starling_py.operators.task import HashPartitioning, ScanColumn, ScanInput
from starling_py.shuffle.locations import S3Location
from starling_py.worker.payload import (
    VERSION,
    Invocation,
    Outcome,
    as_text,
    from_text,
    pack,
    unpack_report,
)

RUN = """
import json, os, sys
bundle = sys.argv[1]
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [bundle]

class Context:
    memory_limit_in_mb = "1769"
    aws_request_id = "1"
    def get_remaining_time_in_millis(self):
        return 60_000

from starling_py.worker.handler import handle
answer = handle(json.load(sys.stdin), Context())
library = os.path.dirname(os.__file__)
files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
elsewhere = [f for f in files if f and not f.startswith((bundle, library, sys.argv[0]))]
json.dump([answer, elsewhere, sorted(sys.modules)], sys.stdout)
"""


def test_a_bundle_fits_and_is_the_same_again(built: Bundle, tmp_path: Path, wheels: Path):
    assert built.unzipped < LIMIT
    again = build_bundle(tmp_path / "again.zip", this_platform(), WORKER, cache=wheels)
    assert again.digest == built.digest


def test_a_bundle_holds_what_a_worker_needs_and_no_more(built: Bundle):
    with zipfile.ZipFile(built.path) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0].split(".")[0].split("-")[0] for name in names}
    packages = {"_duckdb", "duckdb", "isal", "msgspec", "obstore", "pyarrow"}
    assert tops - {"typing_extensions", "__pycache__"} == {*packages, "starling", "starling_py"}
    ours = {name.split("/")[1] for name in names if name.startswith("starling_py/")}
    assert ours == {"__init__.py", "__pycache__", "operators", "shuffle", "worker"}


def test_a_task_runs_from_a_bundle_alone(unpacked: Path, plans, moto: S3Server):
    file = plans.parquet("numbers.parquet", "SELECT range AS x FROM range(1000)")
    data = (plans.folder / "numbers.parquet").read_bytes()
    prefix = moto.new_prefix()
    store = moto.store(prefix)
    store.put("data/numbers.parquet", [data])
    scan = ScanInput(
        "input_0",
        (ScanColumn("x", "BIGINT", field="x"),),
        (
            msgspec.structs.replace(
                file,
                path=encode_path(f"s3://{BUCKET}/{prefix}/data/numbers.parquet"),
                mtime_ns=0,
                etag=store.head("data/numbers.parquet").etag,
                footer=int.from_bytes(data[-8:-4], "little") + 8,
            ),
        ),
    )
    spec = plans.spec(
        "SELECT x AS c0 FROM input_0 WHERE x % 2 = 0",
        ["BIGINT"],
        [scan],
        (HashPartitioning(("c0",), 4),),
    )
    call = Invocation(
        VERSION,
        S3Location(BUCKET, prefix, moto.options()),
        moto.options(),
        spec=as_text(pack(spec)),
    )
    answer, elsewhere, modules = run(unpacked, msgspec.to_builtins(call), moto)
    outcome = msgspec.convert(answer, Outcome)
    assert outcome.error is None, outcome.error
    report = unpack_report(from_text(outcome.report))
    assert report.error is None, report.error
    assert elsewhere == []
    assert {"duckdb", "pyarrow", "obstore"} <= set(modules)
    assert {"boto3", "sqlglot", "click", "rich", "starling_py.planner"} & set(modules) == set()
    assert any(info.key == spec.key for info in store.list(""))
    store.close()


def run(bundle: Path, event: object, server: S3Server) -> list:
    """Answer an event in an interpreter that knows nothing but its own library and the bundle."""
    script = bundle.parent / "run.py"
    script.write_text(RUN)
    done = subprocess.run(
        [sys.executable, "-S", "-I", str(script), str(bundle)],
        input=json.dumps(event),
        env=server.environment(),
        cwd=bundle,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list = json.loads(done.stdout)
    return found


@pytest.mark.long
def test_another_platform_takes_its_own_libraries(tmp_path: Path, built: Bundle, wheels: Path):
    """``built`` says whether the package index can be reached."""
    machine = "arm64" if built.manifest.architecture == "x86_64" else "x86_64"
    other = build_bundle(
        tmp_path / "other.zip", Platform.parse(machine, "3.13"), WORKER, cache=wheels
    )
    assert other.unzipped < LIMIT
    with zipfile.ZipFile(other.path) as archive:
        library = archive.read("_duckdb.abi3.so")[:20]
    # The machine in the header of an ELF file.
    assert int.from_bytes(library[18:20], "little") == {"arm64": 183, "x86_64": 62}[machine]
