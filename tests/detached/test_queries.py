"""Detached queries from the command line: the answers, errors and options of `starling query`."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lambda_processes import until

import starling_py
from starling_py.detached.client import DetachedQueries
from starling_py.detached.files import QueryFiles
from starling_py.detached.state import Request, decode_parameters, encode_parameters
from starling_py.errors import FunctionDenied, StoreUnavailable
from starling_py.local_lambda.settings import FunctionSettings

SQL = "SELECT k % 4001 AS g, sum(k) AS s FROM numbers GROUP BY g ORDER BY g"


@pytest.mark.parametrize("server", ["moto", "ministack"], indirect=True)
def test_detach_attach_result(numbers, tmp_path):
    lamb = numbers.serve()
    query = numbers.detach(SQL, "--tasks", "3")
    place = ["--scratch", numbers.scratch]
    attached = numbers.starling("attach", query, *place, "--format", "csv")
    assert attached.exit_code == 0, attached.output
    with starling_py.connect(numbers.data) as connection:
        embedded = connection.execute(SQL).result
        wanted = embedded.arrow()
    csv = "g,s\n" + "".join(f"{g},{s}\n" for g, s in zip(*wanted.to_pydict().values(), strict=True))
    assert attached.stdout == csv
    assert "stage 0 (scan numbers" in attached.stderr
    assert "4,001 rows from 3 stages, " in attached.stderr
    # Nothing is left but how it has ended and the rows of the answer.
    assert sorted(numbers.left()) == [
        "detached/ending",
        "stage-0002/task-000000.shuffle",
    ]
    again = numbers.starling("result", query, *place, "--format", "csv", "-q")
    assert (again.exit_code, again.output) == (0, csv)
    path = tmp_path / "answer.arrow"
    saved = numbers.starling("result", query, *place, "--output", path, "--stats")
    assert saved.exit_code == 0, saved.output
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        assert pa.ipc.open_file(file).read_all().equals(wanted)
    # The bill has the coordinator in it: its time until the end of the query, with its start.
    until(lambda: not lamb.statistics("starling-coordinator").in_flight)
    queries = numbers.queries()
    _, run = queries.answer(query, queries.ending(query))
    price = {item.name: item.quantity for item in run.price.items}
    assert price["calls of coordinators"] == 1
    gigabytes = FunctionSettings("any").memory / 1024
    billed = lamb.statistics("starling-coordinator").billed
    assert 0 < price["coordinators"] / gigabytes < billed + 0.05
    assert lamb.statistics("starling-coordinator").calls == 1
    assert lamb.statistics("starling-coordinator").failed == 0


def test_dialects_and_parameters(numbers):
    numbers.serve()
    sql = "SELECT `k` + $a AS n, $b AS b, $c AS c FROM numbers WHERE k < $d ORDER BY k"
    words = ["--dialect", "spark", "-p", "a:=1.50", "-p", "b=x'y", "-p", "c:=null", "-p", "d:=2"]
    query = numbers.detach(sql, *words)
    place = ["--scratch", numbers.scratch]
    done = numbers.starling("attach", query, *place, "--format", "csv", "-q")
    local = ["--data", numbers.data, "--format", "csv", "-q"]
    embedded = numbers.starling("query", sql, *words, *local)
    assert (done.exit_code, embedded.exit_code) == (0, 0), done.output + embedded.output
    assert done.output == embedded.output


# The first text of a run takes a while to be made.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.none()
        | st.booleans()
        | st.text()
        | st.integers()
        | st.decimals(allow_nan=False, allow_infinity=False, places=3),
    )
)
def test_parameters_survive_the_way(parameters):
    assert decode_parameters(encode_parameters(parameters)) == parameters


def test_a_failed_query_says_what_it_always_says(numbers):
    numbers.serve()
    place = ["--scratch", numbers.scratch]
    words = ["--data", numbers.data, "--workers", "2", *place, "--target", "lambda"]
    for at, (sql, said) in enumerate(
        (
            ("SELECT nothing FROM numbers", ""),
            ("SELECT CAST('x' || k AS INTEGER) FROM numbers", ""),
            ("SELECT * FROM '/etc/*.parquet'", "the query reads files that are not on S3"),
            ("CREATE TABLE t AS SELECT k FROM numbers", "only queries are detached"),
        ),
        1,
    ):
        query = numbers.detach(sql)
        attached = numbers.starling("attach", query, *place, "-q")
        assert (attached.exit_code, attached.stdout) == (1, "")
        assert said in attached.stderr
        if not said:
            embedded = numbers.starling("query", sql, *words, "-q")
            assert without_ids(attached.stderr) == without_ids(embedded.stderr)
        assert numbers.left() == ["detached/ending"] * at
        again = numbers.starling("result", query, *place)
        assert (again.exit_code, again.stderr) == (1, attached.stderr)


def without_ids(text: str) -> str:
    return re.sub(r"[0-9a-f]{19}", "ID", text)


def test_what_is_not_there_or_not_done(numbers):
    lamb = numbers.serve(coordinator={"handler": "json.dumps"})
    place = ["--scratch", numbers.scratch]
    for command in ("attach", "result", "cancel"):
        done = numbers.starling(command, "0123456789abcdef012", *place)
        assert done.exit_code == 1
        assert "there is no such query" in done.output
        assert "is not the id of a query" in numbers.starling(command, "../x", *place).output
    query = numbers.detach(SQL)
    done = numbers.starling("result", query, *place)
    assert done.exit_code == 1
    assert "the query has not ended" in done.output
    assert lamb.statistics("starling-worker").calls == 0


def test_options_that_exclude_one_another(numbers, tmp_path):
    place = ["--data", numbers.data, "--scratch", numbers.scratch, "--detach"]
    remote = [*place, "--target", "lambda"]
    for words, reason in (
        (place, "--detach is for --target lambda"),
        ([*remote, "--output", tmp_path / "x.csv"], "--output means nothing with --detach"),
        ([*remote, "--format", "csv"], "--format means nothing with --detach"),
        ([*remote, "--stats"], "--stats means nothing with --detach"),
        (["--coordinator", "x"], "--coordinator is for --detach"),
    ):
        done = numbers.starling("query", SQL, *words)
        assert done.exit_code == 2
        assert reason in done.output
    done = numbers.starling("query", SQL, *remote, "--table", f"t={tmp_path}")
    assert "files that are not on S3" in done.output


def test_a_function_that_is_not_there_or_not_fit(numbers):
    numbers.serve(environment={"STARLING_VERSION": "0.0.1+0"})
    place = ["--data", numbers.data, "--scratch", numbers.scratch, "--target", "lambda"]
    done = numbers.starling("query", SQL, *place, "--detach")
    assert done.exit_code == 1
    assert "starling-coordinator is of version 0.0.1+0, this client of" in done.output
    done = numbers.starling("query", SQL, *place, "--detach", "--coordinator", "nobody")
    assert "there is no function nobody" in done.output
    assert numbers.left() == []


def test_a_worker_of_another_version_ends_the_query(numbers):
    numbers.serve()
    query = numbers.detach(SQL, "--function", "nobody")
    done = numbers.starling("attach", query, "--scratch", numbers.scratch)
    assert done.exit_code == 1
    assert "there is no function nobody in us-east-1" in done.output


def test_cancel(numbers):
    lamb = numbers.serve(faults={"latency": 0.3})
    place = ["--scratch", numbers.scratch]
    query = numbers.detach(SQL, "--tasks", "40")
    until(lambda: lamb.statistics("starling-worker").calls)
    done = numbers.starling("cancel", query, *place)
    assert (done.exit_code, done.output) == (0, f"{query} is cancelled\n")
    until(lambda: lamb.statistics("starling-coordinator").in_flight == 0)
    attached = numbers.starling("attach", query, *place)
    assert attached.exit_code == 1
    assert "the query was cancelled" in attached.output
    assert "had ended before" in numbers.starling("cancel", query, *place).output
    assert lamb.statistics("starling-worker").calls < 40


def test_attaching_ends_and_the_query_does_not(numbers, monkeypatch):
    numbers.serve()
    query = numbers.detach(SQL)
    place = ["--scratch", numbers.scratch]
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(DetachedQueries, "wait", interrupted)
        done = numbers.starling("attach", query, *place)
    assert done.exit_code == 130
    assert f"the query goes on: starling attach {query} --scratch {numbers.scratch}" in done.stderr
    assert f"starling cancel {query}" in done.stderr
    assert numbers.starling("attach", query, *place, "-q").exit_code == 0


def request(queries, sql: str) -> Request:
    return Request(
        sql, None, (), None, 1, "auto", False, "starling-worker", queries.options, time.time() + 60
    )


def test_why_a_query_cannot_be_detached_matters_more_than_what_it_leaves(numbers, monkeypatch):
    class Refused:
        def facts(self):
            return None

        def start(self, _):
            raise FunctionDenied("not allowed")

        def close(self):
            pass

    def fail(*_):
        raise StoreUnavailable("it cannot be reached")

    queries = numbers.queries()
    queries._open_client = Refused  # noqa: SLF001
    with monkeypatch.context() as patched:
        patched.setattr(QueryFiles, "clean", fail)
        with pytest.raises(FunctionDenied):
            queries.detach(request(queries, SQL))


def test_ctrl_c_when_the_request_is_there_leaves_nothing(numbers, monkeypatch):
    put = QueryFiles.put_request

    def interrupted(self, request):
        put(self, request)
        raise KeyboardInterrupt

    numbers.serve()
    queries = numbers.queries()
    with monkeypatch.context() as patched:
        patched.setattr(QueryFiles, "put_request", interrupted)
        with pytest.raises(KeyboardInterrupt):
            queries.detach(request(queries, SQL))
    assert numbers.left() == []
