"""Functions that call themselves for a client that has many tasks at once."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from starling_py.errors import FunctionDenied, StarlingError
from starling_py.invokers.call_groups import call_groups
from starling_py.shuffle.rows import whole
from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_sign import payload_hash, sign
from starling_py.worker.fan_out import Callee


@given(calls=st.integers(0, 5000), threshold=st.integers(0, 5000))
def test_every_call_is_in_one_group(calls, threshold):
    groups = call_groups(calls, threshold)
    assert [number for group in groups for number in group] == list(range(calls))
    if calls < max(threshold, 2):
        assert len(groups) == calls
    else:
        root = math.ceil(math.sqrt(calls))
        assert len(groups) == root
        assert max(map(len, groups)) <= root


def test_functions_call_the_others(place, plans):
    lamb = place.serve()
    specs = [
        plans.spec(f"SELECT {number}::BIGINT", ["BIGINT"], task=number, inline_limit=1000)
        for number in range(9)
    ]
    invoker = place.invoker(lamb, 9, two_levels=4)
    with mock.patch.object(invoker._client, "call", wraps=invoker._client.call) as called:  # noqa: SLF001
        reports = place.ask(invoker, *specs)
    assert called.call_count == 3
    assert [report.task for report in reports] == list(range(9))
    assert all(report.error is None for report in reports)
    assert (lamb.statistics().calls, lamb.statistics().most_in_flight) == (9, 9)


def test_a_plan_on_two_levels(place, grouped):
    lamb = place.serve()
    answer = place.run(lamb, grouped(tasks=6), workers=6, two_levels=4)
    assert whole(answer.rows).to_pylist() == grouped.expected()
    assert lamb.statistics().calls == 9


def test_a_plan_on_two_levels_gets_over_faults(place, grouped):
    lamb = place.serve(faults={"seed": 1, "throttle": 0.3, "crash": 0.15, "timeout": 0.15})
    for query in "ab":
        plan = grouped(tasks=6, query=query)
        answer = place.run(lamb, plan, workers=6, two_levels=4, attempts=10)
        assert whole(answer.rows).to_pylist() == grouped.expected()
    assert lamb.statistics().failed
    assert lamb.statistics().throttled


def test_never_more_calls_than_allowed(place, plans):
    lamb = place.serve(limits={"concurrency": 5})
    specs = [
        plans.spec(f"SELECT {number}::BIGINT", ["BIGINT"], task=number, inline_limit=1000)
        for number in range(20)
    ]
    invoker = place.invoker(lamb, 20, two_levels=4)
    assert invoker.slots == 5
    reports = place.ask(invoker, *specs)
    assert [report.task for report in reports] == list(range(20))
    assert lamb.statistics().most_in_flight <= 5
    assert lamb.statistics().throttled == 0


def test_a_failure_is_that_of_its_own_task(place, plans):
    lamb = place.serve()
    specs = [
        plans.spec("SELECT error('no')::BIGINT", ["BIGINT"], task=number)
        if number % 2
        else plans.spec("SELECT 1::BIGINT", ["BIGINT"], task=number, inline_limit=1000)
        for number in range(4)
    ]
    reports = place.ask(place.invoker(lamb, 4, two_levels=2), *specs)
    assert [report.error is None for report in reports] == [True, False, True, False]


def test_a_function_that_may_not_call_itself(place, plans):
    import asyncio

    lamb = place.serve(environment={"AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:1"})
    denied = place.serve(faults={"denied": frozenset({"lambda:InvokeFunction"})})
    specs = [
        plans.spec("SELECT 1::BIGINT", ["BIGINT"], task=number, inline_limit=1000)
        for number in range(4)
    ]
    # What a function cannot reach, the client calls itself.
    reports = place.ask(place.invoker(lamb, 4, two_levels=2), *specs)
    assert all(report.error is None for report in reports)
    # What is refused is told as such.
    to_denied = place.serve(environment={"AWS_ENDPOINT_URL_LAMBDA": denied.endpoint})
    invoker = place.invoker(to_denied, 4, two_levels=2)

    async def ask():
        found = await asyncio.gather(
            *(invoker.invoke(spec) for spec in specs), return_exceptions=True
        )
        await invoker.close()
        return found

    found = asyncio.run(ask())
    invoker.store.close()
    assert [isinstance(one, StarlingError) for one in found] == [False, True, False, True]
    assert {type(one) for one in found[1::2]} == {FunctionDenied}


def test_large_specs_are_not_handed_on(place, plans):
    import base64
    import os

    lamb = place.serve()
    noise = base64.b64encode(os.urandom(100_000)).decode()
    specs = [
        plans.spec(f"SELECT length('{noise}')::BIGINT", ["BIGINT"], task=number, inline_limit=1000)
        for number in range(4)
    ]
    invoker = place.invoker(lamb, 4, two_levels=2)
    with mock.patch.object(invoker._client, "call", wraps=invoker._client.call) as called:  # noqa: SLF001
        reports = place.ask(invoker, *specs)
    assert called.call_count == 4
    assert all(report.error is None for report in reports)


@pytest.mark.parametrize("query", ["", "Qualifier=7"])
@pytest.mark.parametrize("token", [None, "a token"])
def test_calls_are_signed_as_botocore_does(query, token):
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    path, body = "/2015-03-31/functions/starling/invocations", b'{"a": 1}'
    headers = {"host": "lambda.eu-west-1.amazonaws.com", "content-type": "application/json"}
    ours = sign(
        "POST",
        path,
        headers,
        payload_hash([body]),
        query=query,
        credentials=Credentials("key", "secret", token),
        region="eu-west-1",
        now=now,
        service="lambda",
    )
    url = f"https://{headers['host']}{path}" + (f"?{query}" if query else "")
    request = AWSRequest("POST", url, data=body, headers=dict(headers))
    request.headers["X-Amz-Content-SHA256"] = payload_hash([body])
    naive = now.replace(tzinfo=None)
    with mock.patch("botocore.auth.get_current_datetime", return_value=naive):
        SigV4Auth(BotoCredentials("key", "secret", token), "lambda", "eu-west-1").add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


def test_where_a_function_calls_itself():
    environment = {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_REGION": "eu-west-1"}
    assert Callee.of(environment) == Callee(
        "f", "$LATEST", "eu-west-1", "https://lambda.eu-west-1.amazonaws.com"
    )
    with pytest.raises(StarlingError):
        Callee.of({})
