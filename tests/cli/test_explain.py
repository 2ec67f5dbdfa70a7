"""``explain`` and ``tables``."""

from __future__ import annotations

import json

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
    sql = "SELECT id, row_number() OVER (ORDER BY id) FROM orders"
    result = starling("explain", sql, "--data", shop, "--tasks", 2)
    assert result.exit_code == 0, result.output
    assert "one task" in result.stdout


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
