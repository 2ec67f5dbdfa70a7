"""What the role of a coordinator may do: each request that it makes, and nothing more.

The coordinator runs here with the environment of the function that was deployed, behind a proxy
that writes down what it asks of S3; its workers run on a local Lambda and go round the proxy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import duckdb
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
from starling_py.detached import run
from starling_py.detached.files import QueryFiles
from starling_py.detached.handler import answer
from starling_py.detached.state import Request, Start
from starling_py.invokers.function_client import FunctionClient
from starling_py.invokers.functions import LambdaInvoker
from starling_py.local_lambda.server import LocalLambda
from starling_py.local_lambda.settings import Faults, FunctionSettings, Limits
from starling_py.runs import new_id
from starling_py.shuffle.locations import S3Location
from starling_py.shuffle.s3 import S3Store
from starling_py.worker.payload import VERSION

NOT_HERE = {"logs:CreateLogStream", "logs:PutLogEvents"}
"""The service does that for the function."""
NOT_ON_FUNCTIONS = {("lambda:GetAccountSettings", "*")}
"""May be denied: the coordinator then calls as many workers at once as it was asked to."""
S3_ACTIONS = {
    "GET": "s3:GetObject",
    "HEAD": "s3:GetObject",
    "PUT": "s3:PutObject",
    "DELETE": "s3:DeleteObject",
}
SQL = "SELECT k % 89 AS g, count(*) AS n FROM numbers GROUP BY g"


@pytest.fixture(
    params=[pytest.param(False, id="plain", marks=pytest.mark.long), pytest.param(True, id="kms")]
)
def deployed(
    request: pytest.FixtureRequest, aws: Aws, pair: tuple[Bundle, Bundle]
) -> Iterator[tuple[Settings, bool]]:
    name = f"starling-{uuid4().hex[:12]}"
    data = (f"s3://{BUCKET}/lake/{name}",)
    encrypted = {"kms_key": KEY, "data_keys": (DATA_KEY,)} if request.param else {}
    settings = Settings(bucket=f"{name}-scratch", name=name, data=data, **encrypted)
    deploy(aws, settings, *pair)
    yield settings, request.param
    undeploy(aws, name)


class Context:
    """The first call has no time to finish the query, the second has."""

    memory_limit_in_mb = "1769"

    def __init__(self, seconds: float) -> None:
        self.aws_request_id = uuid4().hex
        self._ends = time.time() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - time.time()) * 1000)


def needed(seen: Seen, query: str) -> set[tuple[str, str]]:
    """Return the actions and resources that S3 asks IAM about for a request."""
    parts = urlsplit(seen.asked.target)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    asked = set(parse_qs(parts.query, keep_blank_values=True))
    arn = f"arn:aws:s3:::{bucket}"
    if "delete" in asked:
        return {("s3:DeleteObject", f"{arn}/starling/scratch/{query}/x")}
    if "list-type" in asked:
        return {("s3:ListBucket", arn)}
    # Everything else is an action of its own that this test would have to know.
    assert not asked, seen.asked.target
    assert key, seen.asked.target
    found = {(S3_ACTIONS[seen.asked.method], f"{arn}/{key}")}
    return found | {("s3:ListBucket", arn)} if seen.status == 404 else found


@pytest.fixture
def direct(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers go round the proxy."""

    class Direct(LambdaInvoker):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            store = msgspec.structs.replace(self._invocation.store, options=moto.options())
            self._invocation = msgspec.structs.replace(
                self._invocation, store=store, data=moto.options()
            )

    monkeypatch.setattr(run, "LambdaInvoker", Direct)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """What is asked of functions."""
    found: set[tuple[str, str]] = set()
    send = FunctionClient._send  # noqa: SLF001 - the only place through which all calls go

    def noted(self: FunctionClient, action: str, question: object) -> object:
        arn = f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"
        found.add((action, "*" if action == "lambda:GetAccountSettings" else arn))
        return send(self, action, question)

    monkeypatch.setattr(FunctionClient, "_send", noted)
    return found


@pytest.mark.usefixtures("direct")
def test_a_coordinator_may_do_what_it_does_and_nothing_more(
    deployed: tuple[Settings, bool],
    called: set[tuple[str, str]],
    aws: Aws,
    moto: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    settings, is_encrypted = deployed
    worker, coordinator = f"{settings.name}-worker", f"{settings.name}-coordinator"
    with closing(moto.store(f"lake/{settings.name}")) as lake:
        for part in range(2):
            path = tmp_path / "part.parquet"
            duckdb.sql(f"COPY (SELECT range AS k FROM range(100)) TO '{path}' (FORMAT parquet)")
            lake.put(f"numbers/{part}.parquet", [path.read_bytes()])
    facts = aws.call("lambda", "get_function_configuration", FunctionName=coordinator)
    variables = facts["Environment"]["Variables"] | {
        "AWS_LAMBDA_FUNCTION_NAME": coordinator,
        "AWS_REGION": "us-east-1",
    }
    keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    functions = [
        FunctionSettings(worker, environment=keys),
        # A successor is called, and does nothing.
        FunctionSettings(coordinator, handler="json.dumps"),
    ]
    limits = Limits(init_seconds=100.0)
    faults = Faults(latency=2.0)
    direct = S3Location(settings.bucket, "starling/scratch", moto.options())
    query = new_id()
    with (
        LocalLambda(functions, limits=limits, faults=faults, folder=tmp_path) as lamb,
        FaultProxy(moto) as proxy,
        closing(S3Store(direct.bucket, direct.prefix, direct.options)) as store,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", lamb.endpoint)
        behind = proxy.server.options()
        QueryFiles(store, query).put_request(
            Request(
                SQL,
                f"s3://{BUCKET}/lake/{settings.name}",
                (),
                2,
                2,
                "auto",
                False,
                worker,
                behind,
                time.time() + 200,
            )
        )
        place = msgspec.structs.replace(direct, options=behind)
        for seconds, after, how in ((4.0, 0, "handed over"), (100.0, 1, "ended")):
            event = msgspec.to_builtins(Start(VERSION, place, query, after))
            assert answer(event, Context(seconds), variables) == {"version": VERSION, "how": how}
        ending = QueryFiles(store, query).ending()
        assert ending is not None
        assert ending.error is None
        actions = {each for seen in proxy.log for each in needed(seen, query)}
    if is_encrypted:
        actions = with_keys(actions, settings.bucket)
    actions |= called - NOT_ON_FUNCTIONS
    policy = Policy.of(aws, settings.name, "coordinator")
    denied = {each for each in actions if not policy.used(*each)}
    assert denied == set()
    used = {statement for each in actions for statement in policy.used(*each)}
    unused = {each for each in policy.everything() - used if each[1] not in NOT_HERE}
    assert unused == set()
    forbidden(policy, settings)


def forbidden(policy: Policy, settings: Settings) -> None:
    scratch, lake = f"arn:aws:s3:::{settings.bucket}", f"arn:aws:s3:::{BUCKET}"
    function = f"arn:aws:lambda:us-east-1:123456789012:function:{settings.name}"
    for action, resource in [
        ("s3:PutObject", f"{lake}/lake/{settings.name}/a.parquet"),
        ("s3:DeleteObject", f"{lake}/lake/{settings.name}/a.parquet"),
        ("s3:GetObject", f"{lake}/other/a.parquet"),
        ("s3:GetObject", f"{scratch}/starling/code/x.zip"),
        ("s3:DeleteObject", f"{scratch}/starling/code/x.zip"),
        ("s3:PutObject", f"{scratch}/other"),
        ("s3:ListBucket", "arn:aws:s3:::elsewhere"),
        ("lambda:InvokeFunction", f"{function}-worker-2"),
        ("lambda:UpdateFunctionCode", f"{function}-worker"),
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:1:log-group:/other:*"),
    ]:
        assert policy.used(action, resource) == set(), (action, resource)
    for statement in policy.statements:
        assert all("*" not in action for action in listed(statement["Action"]))
        assert "*" not in listed(statement["Resource"])
