"""``starling tpch run``, ``compare`` and ``report`` on small data."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from starling_py.tpch import bench
from starling_py.tpch.commands import tpch
from starling_py.tpch.engines import DuckEngine, StarlingEngine
from starling_py.tpch.measurements import Measurements, load
from starling_py.tpch.options import EngineOptions
from starling_py.tpch.texts import NUMBERS


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(tpch, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def measure(folder: Path, path: Path, *arguments: object, code: int = 0) -> Measurements:
    done, output = run("run", "--data", folder, "--output", path, *arguments)
    assert done == code, output
    return load(path)


@pytest.fixture(scope="module")
def against_duckdb(tpch_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "against.json"
    options = ["--vs", "duckdb", "--tasks", 3, "--workers", 2, "--queries", "1,3,6,18"]
    measure(tpch_folder, path, *options, "--repeat", 2)
    return path


def test_a_power_run_against_duckdb(against_duckdb: Path):
    measured = load(against_duckdb)
    assert measured.kind == "power"
    assert measured.scale == pytest.approx(0.01)
    assert measured.settings.tasks == 3
    assert measured.settings.engines == ("starling", "duckdb")
    assert measured.versions.duckdb == "2.0.0"
    assert measured.machine.cores >= 1
    assert measured.failures() == ()
    assert measured.answered() == (1, 3, 6, 18)
    # One to warm up and two that count, for each query and engine, in turns.
    order = [(each.query, each.engine, each.warm_up) for each in measured.executions]
    assert len(order) == 4 * 2 * 3
    assert sum(warm for _, _, warm in order) == 8
    began = sorted(measured.executions, key=lambda each: each.began)
    turns = [{each.engine for each in began[at : at + 2]} for at in range(0, len(began), 2)]
    assert turns == [{"starling", "duckdb"}] * 12
    for query in measured.answered():
        rows = {each.rows for each in measured.executions if each.query == query}
        assert len(rows) == 1


def test_every_execution_is_priced_and_its_seconds_are_explained(against_duckdb: Path):
    for each in load(against_duckdb).timed("starling"):
        assert each.stages > 1
        assert each.tasks > 3
        assert 0 < each.dollars < 0.01
        assert 0 < each.planned < 0.01
        assert each.paid == 0
        assert each.peak > 1 << 20
        parts = [getattr(each.profile, name) for name in each.profile.__struct_fields__]
        assert sum(parts) == pytest.approx(each.seconds)
        assert each.profile.planning > 0
        assert each.profile.compute > 0


def test_validation_parameters_or_drawn_ones():
    assert bench.query_text(6, None) == bench.query_text(6, None, 5)
    drawn = {bench.query_text(6, 1, stream) for stream in range(5)}
    assert len(drawn) > 1


def test_streams_have_orders_of_their_own():
    orders = [bench.permutation(NUMBERS, 1, stream) for stream in range(10)]
    assert {tuple(sorted(order)) for order in orders} == {tuple(NUMBERS)}
    assert len(set(orders)) == 10
    assert bench.permutation(NUMBERS, 1, 3) == orders[3]
    assert bench.permutation(NUMBERS, 2, 3) != orders[3]


@pytest.mark.parametrize("engine", ["starling", "duckdb"])
def test_a_throughput_run(tpch_folder: Path, tmp_path: Path, engine: str):
    options = ["--streams", 3, "--queries", "1,6,12", "--seed", 4, "--engine", engine]
    measured = measure(tpch_folder, tmp_path / "run.json", *options)
    assert measured.kind == "throughput"
    for stream in (1, 2, 3):
        mine = [each for each in measured.executions if each.stream == stream]
        by_time = [each.query for each in sorted(mine, key=lambda each: each.began)]
        assert tuple(by_time) == bench.permutation((1, 6, 12), 4, stream)
    assert len(measured.executions) == 9
    assert max(each.began + each.seconds for each in measured.executions) <= measured.seconds + 1


def test_a_wrong_answer_is_told(tpch_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The reference reads a copy of the files with fewer rows."""
    other = Path(shutil.copytree(tpch_folder, tmp_path / "other"))
    first = other / "region" / "region.1.parquet"
    pq.write_table(pq.read_table(first).slice(0, 3), first)
    monkeypatch.setattr(
        "starling_py.tpch.engines.DuckEngine",
        lambda _, threads: DuckEngine(other, threads=threads),
    )
    options = ["--vs", "duckdb", "--queries", "2,6", "--warm-up", 0, "--repeat", 1]
    measured = measure(tpch_folder, tmp_path / "run.json", *options, code=1)
    assert {each.query for each in measured.failures()} == {2}
    assert "expected" in measured.failures()[0].difference


def test_a_query_that_fails_is_told_and_the_others_go_on(tpch_folder: Path, tmp_path: Path):
    part = Path(shutil.copytree(tpch_folder, tmp_path / "part"))
    damaged = part / "part" / "part.1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    measured = measure(part, tmp_path / "run.json", "--queries", "6,14", "--repeat", 1, code=1)
    assert measured.answered() == (6,)
    assert all(each.query == 14 for each in measured.failures())
    assert "part.1.parquet" in measured.failures()[0].error


def test_an_engine_has_the_data_where_it_is_told(tpch_folder: Path, tmp_path: Path):
    copy = Path(shutil.copytree(tpch_folder, tmp_path / "copy"))
    first = copy / "orders" / "orders.1.parquet"
    pq.write_table(pq.read_table(first).slice(0, 0), first)
    with EngineOptions(copy=str(copy)).connect(tpch_folder) as connection:
        assert StarlingEngine(connection).scale() < 0.01
    reference = DuckEngine(tpch_folder, threads=1)
    assert reference.scale() == pytest.approx(0.01)
    reference.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--data"),
        (["--data", "missing"], "missing"),
        (["--data", ".", "--vs", "duckdb", "--engine", "duckdb"], "another engine"),
        (["--data", ".", "--vs", "duckdb", "--streams", "2"], "without --streams"),
        (["--data", ".", "--engine", "duckdb"], "no Parquet files of table"),
        (["--data", "s3://b/p", "--vs", "duckdb"], "--copy"),
        (["--data", ".", "--seed", "-1"], "--seed"),
        (["--data", ".", "--repeat", "0"], "--repeat"),
        (["--data", ".", "--warm-up", "-1"], "--warm-up"),
        (["--data", ".", "--streams", "0"], "--streams"),
        (["--data", ".", "--queries", "0"], "--queries"),
        (["--data", ".", "--prices", "missing.toml"], "missing.toml"),
    ],
)
def test_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, complaint):
    from starling_py.cli.main import main

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["tpch", "run", *arguments])
    assert done.exit_code == 2
    assert complaint in done.output
    assert list(tmp_path.iterdir()) == []


def test_compare(against_duckdb: Path, tpch_folder: Path, tmp_path: Path):
    other = tmp_path / "other.json"
    measure(tpch_folder, other, "--queries", "1,6", "--repeat", 2)
    code, output = run("compare", against_duckdb, other)
    assert code == 0, output
    assert "different tasks: 3, auto" in output
    assert [line.split()[0] for line in output.splitlines() if line.startswith("Q")] == ["Q1", "Q6"]
    assert re.search(r"ratio of totals [\d.]+, geometric mean of ratios [\d.]+, of dollars", output)
    code, output = run("compare", against_duckdb, against_duckdb)
    assert output.count("1.00~") == 2 * 4
    (tmp_path / "none.json").write_text("{}")
    assert run("compare", other, tmp_path / "none.json")[0] == 1
    assert run("compare", other, tmp_path / "missing.json")[0] == 2


def test_report(against_duckdb: Path, tpch_folder: Path, tmp_path: Path):
    hostile = tmp_path / "<script>alert(1)</script>.json".replace("/", "")
    shutil.copy(against_duckdb, hostile)
    streams = tmp_path / "streams.json"
    measure(tpch_folder, streams, "--queries", "1,6", "--streams", 2)
    page = tmp_path / "report.html"
    code, output = run("report", hostile, streams, "--output", page)
    assert code == 0, output
    text = page.read_text(encoding="utf-8")
    titles = re.findall(r"<h2>([^<&]+)", text)
    expected = ["Latency", "Ratios", "Cost per query", "Break-even", "Profile: ", "Queries: "]
    assert titles == expected
    assert text.count("<svg") == 5
    # Nothing is fetched, nothing runs, and a file's name is text.
    assert re.search(r"(src|href)=\"(?!#)", re.sub(r"xlink:href=\"#", "", text)) is None
    assert "<script" not in text
    assert "m7g.4xlarge" in text
    assert re.search(r"queries an hour, one every [\d.]+ s", text)


def test_tables_alone(against_duckdb: Path, tmp_path: Path):
    code, output = run("report", against_duckdb, "-o", tmp_path / "report.md")
    assert code == 0, output
    lines = (tmp_path / "report.md").read_text().splitlines()
    table = [line.split("|") for line in lines if line.startswith("|")]
    assert [row[1].strip() for row in table] == ["query", "---", "Q1", "Q3", "Q6", "Q18"]
    assert len({len(row) for row in table}) == 1
    assert [cell.strip() for cell in table[0]][-4:-1] == ["output", "task", "answer"]


def test_a_report_needs_its_extra(
    against_duckdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from starling_py.cli.main import main

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["tpch", "report", str(against_duckdb), "-o", str(tmp_path / "r.html")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "pip install 'starling-py[report]'" in done.output
    assert list(tmp_path.iterdir()) == []
