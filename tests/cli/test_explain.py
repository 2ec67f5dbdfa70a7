"""``explain`` and ``tables``."""

from __future__ import annotations

import json

import duckdb
import msgspec

from starling_py.operators.plan import StagePlan

SQL = """SELECT name, sum(price) FROM orders JOIN customers c ON c.id = customer
WHERE orders.id >= 15_000 GROUP BY name"""


def test_text(starling, shop):
    result = starling("explain", SQL, "--data", shop, "--tasks", 2)
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in (
        "stage 0",
        "table orders, 2 files, 2 of 3 row groups",
        "stage 0, ",
        "expects about",
        "SELECT",
        "answer",
        "stages,",
    ):
        assert part in text
    assert result.stderr == ""
    many = starling("explain", "SELECT DISTINCT note FROM orders", "--data", shop, "--tasks", 3)
    assert "partitions by hash of" in many.stdout


def test_json(starling, shop):
    result = starling("explain", SQL, "--data", shop, "--tasks", 2, "--format", "json")
    plan = msgspec.json.decode(result.stdout, type=StagePlan)
    assert plan.sql == SQL
    assert [column.name for column in plan.result] == ["name", "sum(price)"]
    assert max(stage.tasks for stage in plan.stages) == 2


def test_what_cannot_be_distributed(starling, shop):
    sql = "SELECT struct_update({'a': id}, a := 1) FROM orders"
    result = starling("explain", sql, "--data", shop, "--tasks", 2)
    assert result.exit_code == 0, result.output
    assert "  note    one task only: " in result.stdout
    assert "expects" not in result.stdout.partition("whole statement")[2]


def test_what_has_one_task_above_scans(starling, shop):
    sql = "SELECT id, row_number() OVER (ORDER BY id) FROM orders"
    result = starling("explain", sql, "--data", shop, "--tasks", 2)
    assert "one task only: window functions without PARTITION BY" in result.stdout


def test_every_way_of_data(starling, shop, tmp_path):
    with duckdb.connect() as writer:
        for table, files in (("a", 4), ("b", 5)):
            (tmp_path / table).mkdir()
            for part in range(files):
                rows = 120_000 // files
                writer.execute(
                    f"COPY (SELECT i AS k, 'x' || i AS s FROM range({part * rows}, "
                    f"{(part + 1) * rows}) r(i)) TO '{tmp_path}/{table}/{part}.parquet'"
                )
    join = "SELECT count(*), max(a.s) FROM a JOIN b USING (k)"
    for sql, data, parts in (
        (join, tmp_path, ["rows a task; columns", "cut by key ranges; task 1 takes", '"k_']),
        (join, tmp_path, ["gathered in task order", " between stages; bind "]),
        ("SELECT DISTINCT note FROM orders", shop, ["to each task its share of the partitions"]),
        ("FROM orders, customers", shop, ["broadcast, everything to every task"]),
    ):
        text = starling("explain", sql, "--data", data, "--tasks", 3).stdout
        assert max(len(line) for line in text.splitlines()) <= 80
        for part in parts:
            assert part in " ".join(text.split()), text


def test_combiners(starling, shop):
    sql = "SELECT DISTINCT note FROM orders"
    wanted = ("explain", sql, "--data", shop, "--tasks", 6, "--workers", 4, "--shuffle")
    text = starling(*wanted, "combined").stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in (
        "stage 1 combine: 4 tasks",
        "input_0: stage 0, to each task a group of partitions of a group of tasks",
        "writes 24 partitions, as they came",
        "costs 24 GETs and 4 PUTs instead of 36 GETs without combiners",
        "s = 6, r = 6, p = 1/2, f = 1/2",
    ):
        assert part in " ".join(text.split()), text
    assert "combine" not in starling(*wanted, "direct").stdout
    # Nothing here costs a request.
    assert "combine" not in starling(*wanted, "auto").stdout


def test_tables(starling, shop):
    result = starling("tables", "--data", shop, "--table", f"o={shop}/orders/0.parquet")
    blocks = result.stdout.rstrip("\n").split("\n\n")
    assert [block.split(":")[0] for block in blocks] == ["customers", "o", "orders"]
    size = (shop / "orders/0.parquet").stat().st_size
    assert blocks[1].splitlines() == [
        f"o: 10,000 rows, 1 file, {size / 1000:.1f} kB",
        "  id        BIGINT",
        "  customer  BIGINT",
        "  price     DECIMAL(9,2)",
        "  note      VARCHAR",
    ]
    assert blocks[2].startswith("orders: 30,000 rows, 3 files, ")


def test_tables_as_json(starling, shop):
    listed = json.loads(starling("tables", "--data", shop, "--format", "json").stdout)
    assert [table["name"] for table in listed] == ["customers", "orders"]
    assert listed[0]["columns"][1] == {"name": "name", "type": "VARCHAR", "source": "file"}
    assert listed[1]["rows"] == 30_000


def test_hive_columns_are_marked(starling, shop, tmp_path):
    (tmp_path / "t/k=1").mkdir(parents=True)
    (tmp_path / "t/k=1/f.parquet").write_bytes((shop / "customers.parquet").read_bytes())
    assert "  k     BIGINT  (hive folder)" in starling("tables", "--data", tmp_path).stdout
