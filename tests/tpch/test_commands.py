"""The command line of the harness: usage errors, exit codes, what is printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from starling_py.tpch.commands import tpch
from starling_py.tpch.verify import Oracle


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(tpch, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["generate", "--output", "x"], "--scale"),
        (["generate", "--scale", "0", "--output", "x"], "--scale"),
        (["generate", "--scale", "-1", "--output", "x"], "--scale"),
        (["generate", "--scale", "nan", "--output", "x"], "--scale"),
        (["generate", "--scale", "1"], "--output"),
        (["generate", "--scale", "1", "--output", "x", "--parts", "0"], "--parts"),
        (["verify"], "--data"),
        (["verify", "--data", "missing"], "--data"),
        (["verify", "--data", "."], "no Parquet files of table 'lineitem'"),
        (["verify", "--data", ".", "--queries", "23"], "1 to 22"),
        (["verify", "--data", ".", "--tasks", "0"], "--tasks"),
        (["verify", "--data", ".", "--tasks", "many"], "--tasks"),
        (["verify", "--data", ".", "--workers", "0"], "--workers"),
        (["verify", "--data", ".", "--isolation", "none"], "--isolation"),
        (["verify", "--data", ".", "--repeat", "0"], "--repeat"),
    ],
)
def test_usage_errors_exit_with_2_and_name_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
):
    monkeypatch.chdir(tmp_path)
    code, output = run(*arguments)
    assert code == 2
    assert complaint in output
    assert list(tmp_path.iterdir()) == []


def test_generate_lists_the_tables_and_says_when_they_are_there(tmp_path: Path):
    folder = str(tmp_path / "tables")
    code, output = run("generate", "--scale", "0.001", "--output", folder, "--parts", "2")
    assert code == 0
    assert "1,500 rows    2 files" in output
    assert output.splitlines()[:2] == ["1 of 2: large tables", "2 of 2: small tables"]
    assert output.count("\n") == 2 + 9
    code, output = run("generate", "--scale", "0.001", "--output", folder, "--parts", "2")
    assert code == 0
    assert "already holds TPC-H at scale 0.001" in output


def test_verify_prints_a_line_a_query_and_a_total(tpch_folder: Path):
    code, output = run(
        "verify", "--data", str(tpch_folder), "--queries", "1,6", "--tasks", "2", "--workers", "2"
    )
    lines = output.splitlines()
    assert code == 0, output
    assert [line.split()[0] for line in lines[:3]] == ["query", "Q1", "Q6"]
    assert all(line.endswith("ok") for line in lines[1:3])
    assert lines[3].startswith("2 of 2 queries equal; engine ")


def test_verify_exits_with_1_when_a_query_differs(
    tpch_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The oracle reads a copy of the files with one row less."""
    other = Path(shutil.copytree(tpch_folder, tmp_path / "other"))
    first = other / "region" / "region.1.parquet"
    pq.write_table(pq.read_table(first).slice(0, 3), first)

    from starling_py.tpch import verify as module

    monkeypatch.setattr(module, "Oracle", lambda _, threads: Oracle(other, threads=threads))
    code, output = run("verify", "--data", str(tpch_folder), "--queries", "2,6")
    assert code == 1, output
    assert "DIFFERENT: " in output
    assert "1 of 2 queries equal" in output
