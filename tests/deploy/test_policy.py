"""What the role of a worker may do: each request that workers make, and nothing more.

Workers run tasks of every kind with the environment of the function that was deployed; a proxy
before S3 writes down what they ask for, and the policy is read back from the stack's role.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import msgspec
import pytest
from iam_policies import DATA_KEY, KEY, Policy, listed, with_keys
from proxy_exchange import Seen
from s3_proxy import FaultProxy
from s3_servers import BUCKET, KEY_ID, SECRET, S3Server

from starling_py.deploy.aws import Aws
from starling_py.deploy.bundle import Bundle
from starling_py.deploy.deployment import deploy, undeploy
from starling_py.deploy.settings import Settings
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import FunctionSettings, Limits
from starling_py.operators.quoting import encode_path
from starling_py.operators.task import (
    STAGING,
    FileRange,
    FileSink,
    HashPartitioning,
    SamePartitions,
    ScanColumn,
    ScanInput,
    ShuffleInput,
    SinkColumn,
    TaskReport,
    TaskSpec,
)
from starling_py.shuffle.index import PartitionRun
from starling_py.shuffle.locations import S3Location
from starling_py.worker.function import FunctionWorker
from starling_py.worker.payload import (
    VERSION,
    Invocation,
    as_text,
    call_key,
    from_text,
    pack,
    unpack_report,
)

BY_THE_SERVICE = {"logs:CreateLogStream", "logs:PutLogEvents"}
"""The service does these for the function."""
FUNCTIONS = "arn:aws:lambda:us-east-1:123456789012:function"
S3_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject"}


def needed(seen: Seen) -> set[tuple[str, str]]:
    """Return the actions and resources that S3 asks IAM about for a request."""
    parts = urlsplit(seen.asked.target)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = set(parse_qs(parts.query, keep_blank_values=True))
    arn = f"arn:aws:s3:::{bucket}"
    # Everything else is an action of its own that this test would have to know.
    assert query <= {"uploads", "uploadId", "partNumber"}, seen.asked.target
    assert key, seen.asked.target
    if seen.asked.method == "POST":
        return {("s3:PutObject", f"{arn}/{key}")}
    found = {(S3_ACTIONS[seen.asked.method], f"{arn}/{key}")}
    # S3 says 404 only to those who could have listed the bucket, and 403 to all others.
    return found | {("s3:ListBucket", arn)} if seen.status == 404 else found


def called(seen: Seen) -> tuple[str, str]:
    """Return the action and the resource that Lambda asks IAM about for a request."""
    path = urlsplit(seen.asked.target).path
    assert seen.asked.method == "POST"
    name = path.removeprefix("/2015-03-31/functions/").removesuffix("/invocations")
    assert "/" not in name
    return ("lambda:InvokeFunction", f"{FUNCTIONS}:{name}")


class Context:
    memory_limit_in_mb = "1769"
    aws_request_id = "1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Workers:
    """Functions of a deployment, behind a proxy."""

    def __init__(
        self, worker: FunctionWorker, proxy: FaultProxy, calls: FaultProxy, scratch: S3Location
    ) -> None:
        self.worker = worker
        self.proxy = proxy
        self.calls = calls
        self.scratch = scratch

    def run(
        self, spec: TaskSpec | None = None, *, others: tuple[TaskSpec, ...] = (), spec_key: str = ""
    ) -> TaskReport:
        invocation = Invocation(
            VERSION,
            self.scratch,
            self.scratch.options,
            spec=as_text(pack(spec)) if spec else "",
            spec_key=spec_key,
            others=tuple(as_text(pack(other)) for other in others),
        )
        answer = self.worker.answer(msgspec.to_builtins(invocation), Context())
        assert not answer.get("error"), answer
        for other in answer.get("others", ()):
            assert unpack_report(from_text(str(other["report"]))).error is None
        return unpack_report(from_text(str(answer["report"])))

    def actions(self) -> set[tuple[str, str]]:
        return {each for seen in self.proxy.log for each in needed(seen)} | {
            called(seen) for seen in self.calls.log
        }


@pytest.fixture(params=[False, True], ids=["plain", "kms"])
def deployed(
    request: pytest.FixtureRequest, aws: Aws, pair: tuple[Bundle, Bundle]
) -> Iterator[tuple[Settings, bool]]:
    name = f"starling-{uuid4().hex[:12]}"
    encrypted = {"kms_key": KEY, "data_keys": (DATA_KEY,)} if request.param else {}
    settings = Settings(
        bucket=f"{name}-scratch",
        name=name,
        data=(f"s3://{BUCKET}/lake",),
        written=(f"s3://{BUCKET}/made",),
        **encrypted,
    )
    deploy(aws, settings, *pair)
    yield settings, request.param
    undeploy(aws, name)


@pytest.fixture
def workers(
    deployed: tuple[Settings, bool], aws: Aws, moto: S3Server, tmp_path: Path
) -> Iterator[Workers]:
    settings, _ = deployed
    function = f"{settings.name}-worker"
    environment = aws.call("lambda", "get_function_configuration", FunctionName=function)
    variables = environment["Environment"]["Variables"] | moto.environment()
    keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    functions = [FunctionSettings(function, environment=keys)]
    limits = Limits(init_seconds=100.0)
    with (
        FaultProxy(moto) as proxy,
        LocalLambda(functions, limits=limits, folder=tmp_path) as lamb,
        FaultProxy(lamb.endpoint) as calls,
    ):
        variables |= {
            "AWS_LAMBDA_FUNCTION_NAME": function,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_LAMBDA": calls.endpoint,
        }
        with closing(FunctionWorker(variables, tmp_path / "function")) as worker:
            scratch = S3Location(settings.bucket, "starling/scratch", proxy.server.options())
            yield Workers(worker, proxy, calls, scratch)


def lake_file(plans, moto: S3Server) -> FileRange:
    file = plans.parquet("numbers.parquet", "SELECT range AS x FROM range(1000)")
    data = (plans.folder / "numbers.parquet").read_bytes()
    store = moto.store("lake")
    store.put("numbers.parquet", [data])
    etag = store.head("numbers.parquet").etag
    store.close()
    return msgspec.structs.replace(
        file,
        path=encode_path(f"s3://{BUCKET}/lake/numbers.parquet"),
        mtime_ns=0,
        etag=etag,
        footer=int.from_bytes(data[-8:-4], "little") + 8,
    )


def test_a_worker_may_do_what_it_does_and_nothing_more(
    deployed: tuple[Settings, bool], workers: Workers, aws: Aws, moto: S3Server, plans
):
    settings, is_encrypted = deployed
    scan = ScanInput("input_0", (ScanColumn("x", "BIGINT", field="x"),), (lake_file(plans, moto),))
    produce = plans.spec(
        "SELECT x AS c0 FROM input_0",
        ["BIGINT"],
        [scan],
        (HashPartitioning(("c0",), 4),),
        doublewrite=True,
        codec="lz4",
    )
    report = workers.run(produce)
    assert report.error is None
    second = workers.run(msgspec.structs.replace(produce, nonce="second", attempt=2))
    assert second.index == report.index

    run = PartitionRun(produce.key, produce.nonce, 0, 4, report.index.partitions, copied=True)
    combine = plans.spec(
        "",
        ["BIGINT"],
        [ShuffleInput("input_0", plans.columns("BIGINT"), (run,))],
        (SamePartitions(4),),
    )
    combined = workers.run(combine)
    assert combined.error is None
    # Told nothing of where the partitions are, it reads the header first.
    unknown = PartitionRun(combine.key, combine.nonce, 0, 4)
    consume = plans.spec(
        "SELECT count(*) FROM input_0",
        ["BIGINT"],
        [ShuffleInput("input_0", plans.columns("BIGINT"), (unknown,))],
    )
    assert workers.run(consume).error is None
    missing = PartitionRun("q/nothing", "none", 0, 1)
    starved = plans.spec(
        "SELECT count(*) FROM input_0",
        ["BIGINT"],
        [ShuffleInput("input_0", plans.columns("BIGINT"), (missing,))],
    )
    assert workers.run(starved).error.code == "OBJECT_MISSING"
    # COPY and CREATE TABLE write where nobody looks yet.
    sink = FileSink(
        encode_path(f"s3://{BUCKET}/made/{STAGING}{produce.query}"),
        "part",
        ".parquet",
        "parquet",
        "",
        (SinkColumn("x", "INTEGER", "INTEGER"),),
    )
    write = plans.spec("SELECT 1", ["VARCHAR", "BIGINT", "BIGINT"], sink=sink)
    assert workers.run(write).error is None
    # Of many tasks a function starts its share before its own one.
    others = tuple(plans.spec("SELECT 1", ["INTEGER"], inline_limit=1000) for _ in range(2))
    assert workers.run(others[0], others=others[1:]).error is None
    # A spec that is too large for a call goes through the store.
    large = plans.spec("SELECT 1", ["INTEGER"])
    key = call_key(large.query, large.nonce, "spec")
    store = workers.scratch
    direct = moto.client()
    direct.put_object(Bucket=store.bucket, Key=f"{store.prefix}/{key}", Body=pack(large))
    direct.close()
    assert workers.run(spec_key=key).error is None

    actions = workers.actions()
    if is_encrypted:
        actions = with_keys(actions, settings.bucket)
    policy = Policy.of(aws, settings.name)
    denied = {each for each in actions if not policy.used(*each)}
    assert denied == set()
    used = {statement for each in actions for statement in policy.used(*each)}
    unused = {each for each in policy.everything() - used if each[1] not in BY_THE_SERVICE}
    assert unused == set()


def test_what_a_worker_may_not(deployed: tuple[Settings, bool], aws: Aws):
    settings, _ = deployed
    policy = Policy.of(aws, settings.name)
    scratch = f"arn:aws:s3:::{settings.bucket}"
    lake = f"arn:aws:s3:::{BUCKET}"
    assert policy.used("s3:GetObject", f"{lake}/lake/a.parquet")
    for action, resource in [
        ("s3:PutObject", f"{lake}/lake/a.parquet"),
        ("s3:PutObject", f"{lake}/lake/.starling-q/a.parquet"),
        ("s3:PutObject", f"{lake}/made/a.parquet"),
        ("s3:PutObject", f"{lake}/made/q/a.starling"),
        ("s3:GetObject", f"{lake}/made/.starling-q/a.parquet"),
        ("s3:DeleteObject", f"{lake}/made/.starling-q/a.parquet"),
        ("s3:GetObject", f"{lake}/lakeside/a.parquet"),
        ("s3:ListBucket", lake),
        ("s3:GetObject", f"{scratch}/starling/code/x.zip"),
        ("s3:PutObject", f"{scratch}/starling/code/x.zip"),
        ("s3:DeleteObject", f"{scratch}/starling/scratch/x"),
        ("s3:PutObject", f"{scratch}/other"),
    ]:
        assert policy.used(action, resource) == set(), (action, resource)
    itself = f"{FUNCTIONS}:{settings.name}-worker"
    assert policy.used("lambda:InvokeFunction", itself)
    assert not policy.used("lambda:InvokeFunction", f"{itself}-2")
    # Its own log group and no other, and nothing that stands for everything.
    assert not policy.used("logs:PutLogEvents", "arn:aws:logs:us-east-1:1:log-group:/other:*")
    for statement in policy.statements:
        assert all("*" not in action for action in listed(statement["Action"]))
        assert "*" not in listed(statement["Resource"])
