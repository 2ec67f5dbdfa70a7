"""What README shows works: its commands are run, and its Python too, on small data."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from s3_servers import S3Server

from starling_py.tpch.generate import generate

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[list[list[str]]]:
    """Return the commands of each block: later ones may need what earlier ones made."""
    found = []
    for block in blocks("sh"):
        lines = block.replace("\\\n", "").splitlines()
        parsed = [shlex.split(line, comments=True) for line in lines]
        found.append([words for words in parsed if words and words[0] == "starling"])
    return [some for some in found if some]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tables that README speaks of, at scale 0.001."""
    folder = tmp_path_factory.mktemp("readme")
    generate(folder / "data" / "tpch", 0.001, parts=2)
    for year in (2023, 2024):
        part = folder / "taxi" / f"year={year}"
        part.mkdir(parents=True)
        duckdb.sql("SELECT i AS tip FROM range(20) t(i)").write_parquet(str(part / "t.parquet"))
    return folder


@pytest.fixture
def on_s3(place: Path, moto: S3Server) -> dict[str, str]:
    """Put the tables into the bucket that README speaks of, and return how to get there."""
    with closing(moto.client()) as client:
        client.create_bucket(Bucket="bucket")
        for path in (place / "data").rglob("*.parquet"):
            key = str(path.relative_to(place / "data"))
            client.put_object(Bucket="bucket", Key=key, Body=path.read_bytes())
    return moto.environment()


def run(arguments: list[str], place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "200"} | environment,
    )


def test_the_commands_are_found():
    subcommands = {words[1] for block in commands() for words in block}
    assert subcommands == {"query", "explain", "tables", "tpch"}


@pytest.mark.parametrize("block", commands(), ids=lambda block: " ".join(block[0][1:3]))
def test_commands_work(block: list[list[str]], place: Path, request: pytest.FixtureRequest):
    for words in block:
        # Smaller and fewer than README says; generating twice is refused.
        if words[1:3] == ["tpch", "generate"]:
            words += ["--overwrite"]
            words[words.index("--scale") + 1] = "0.001"
        if words[1:3] == ["tpch", "run"]:
            words += ["--warm-up", "0", "--repeat", "1", "--queries", "1,6,18"]
        reach = request.getfixturevalue("on_s3") if "s3://" in " ".join(words) else {}
        done = run([str(Path(sys.executable).with_name(words[0])), *words[1:]], place, **reach)
        assert done.returncode == 0, done.stdout + done.stderr
        if "--output" in words and words[1] == "query":
            written = place / words[words.index("--output") + 1]
            assert duckdb.sql(f"SELECT count(*) FROM '{written}'").fetchall() == [(18,)]
        else:
            assert done.stdout.strip()


def test_the_python_works(place: Path):
    (code,) = blocks("python")
    done = run([sys.executable, "-c", f"{code}\nassert table.num_rows == len(frame) == 5"], place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[('A', Decimal(")


def test_the_two_commands_come_first():
    first = blocks("sh")[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]
    assert README.index("make demo") < 600
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z]+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
    for folder in re.findall(r"^\| `([a-z_]+)/`", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
