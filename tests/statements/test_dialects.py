"""Other dialects: the answer is that of the same question in DuckDB's own words."""

from __future__ import annotations

import pytest

from starling_py.cli.main import main
from starling_py.errors import BindError, SqlSyntaxError, UnknownColumn, Unsupported
from starling_py.planner.dialects import DIALECTS, transpile

PRESTO = ("athena", "presto", "trino")
SPARK = ("databricks", "hive", "spark")
NULLS = "(VALUES (3), (NULL), (1)) AS v(a)"
TEXTS = "(VALUES ('a_b'), ('axb'), (NULL)) AS v(s)"
LISTS = "(SELECT 1 AS k, [10, 20, NULL] AS l UNION ALL SELECT 2, []) AS v"
TIMES = (
    "(SELECT TIMESTAMP '2024-01-31 23:00:00' AS a, TIMESTAMP '2024-03-01 01:00:00' AS b, "
    "DATE '2024-02-04' AS d) AS v"
)

# For each dialect: what it says, and what DuckDB says. In the first, {nulls} … stand for relations
# that sqlglot writes for the dialect.
SAME: dict[tuple[str, ...], list[tuple[str, str]]] = {
    (*PRESTO, "postgres", "redshift"): [
        ("SELECT 7 / 2, -7 / 2, 7 / 2.0", "SELECT 3, -3, 3.5"),
        ("SELECT k / 3 AS x FROM numbers ORDER BY k LIMIT 9", "FROM range(9) r(k) SELECT k // 3"),
        ("SELECT sum(k) / count(*) FROM numbers", "SELECT 999"),
    ],
    (*SPARK, "bigquery", "mysql", "snowflake"): [("SELECT 7 / 2", "SELECT 3.5")],
    (*SPARK, "mysql"): [("SELECT 7 DIV 2", "SELECT 3")],
    ("hive", "mysql", "spark"): [("SELECT 1 / 0", "SELECT NULL")],
    ("bigquery",): [
        ("SELECT DIV(7, 2), SAFE_DIVIDE(1, 0)", "SELECT 3, NULL"),
        (
            "SELECT l[OFFSET(0)], l[ORDINAL(1)], l[SAFE_OFFSET(9)] FROM {lists}",
            f"SELECT l[1], l[1], NULL FROM {LISTS}",
        ),
        ("SELECT DATE_DIFF(DATE '2024-03-01', DATE '2024-02-29', MONTH)", "SELECT 1"),
        (
            "SELECT TIMESTAMP_DIFF(b, a, DAY), TIMESTAMP_DIFF(b, a, HOUR) FROM {times}",
            "SELECT 29, 698",
        ),
        ("SELECT EXTRACT(DAYOFWEEK FROM d) FROM {times}", "SELECT 1"),
        ("SELECT DATE_TRUNC(d, MONTH) = DATE '2024-02-01' FROM {times}", "SELECT true"),
        ("SELECT DATE_TRUNC(DATE '2024-02-05', WEEK) = DATE '2024-02-04'", "SELECT true"),
        ("SELECT CONCAT('a', NULL), SAFE_CAST('x' AS INT64)", "SELECT NULL, NULL"),
        (
            "SELECT REGEXP_CONTAINS('xab', r'a.'), REGEXP_REPLACE('aba', 'a', 'c')",
            "SELECT true, 'cbc'",
        ),
        ("SELECT x FROM {lists}, UNNEST(l) AS x", "SELECT unnest([10, 20, NULL])"),
        ("SELECT * EXCEPT (l) FROM {lists}", "SELECT 1 AS k UNION ALL SELECT 2"),
        ("SELECT COUNTIF(k > 1), APPROX_COUNT_DISTINCT(k) FROM {lists}", "SELECT 1, 2"),
        ("SELECT SUBSTR('abc', 0, 2), IF(1 > 2, 1, 2)", "SELECT 'ab', 2"),
    ],
    PRESTO: [
        ("SELECT date_diff('day', a, b), date_diff('month', a, b) FROM {times}", "SELECT 29, 1"),
        (
            "SELECT date_trunc('month', d) = DATE '2024-02-01', date_add('day', 3, d) = "
            "DATE '2024-02-07' FROM {times}",
            "SELECT true, true",
        ),
        ("SELECT day_of_week(d), extract(dow FROM d) FROM {times}", "SELECT 7, 7"),
        (
            "SELECT l[1], element_at(l, 1), cardinality(l) FROM {lists} WHERE k = 1",
            "SELECT 10, 10, 3",
        ),
        (
            "SELECT x, n FROM {lists} CROSS JOIN UNNEST(l) WITH ORDINALITY AS u(x, n)",
            "SELECT unnest([10, 20, NULL]), unnest([1, 2, 3])",
        ),
        (
            "SELECT concat('a', NULL), 'a' || NULL, try_cast('x' AS INTEGER)",
            "SELECT NULL, NULL, NULL",
        ),
        (
            "SELECT regexp_like('xab', 'a.'), regexp_replace('aba', 'a', 'c'), "
            "regexp_extract('xaby', 'a(.)', 1)",
            "SELECT true, 'cbc', 'b'",
        ),
        ("SELECT a FROM {nulls} ORDER BY a DESC FETCH FIRST 2 ROWS ONLY", "SELECT unnest([3, 1])"),
        ("SELECT approx_distinct(k), max_by(k, l), count_if(k > 1) FROM {lists}", "SELECT 2, 1, 1"),
        (
            "SELECT transform(l, x -> x + 1), filter(l, x -> x > 10) FROM {lists} WHERE k = 1",
            "SELECT [11, 21, NULL], [20]",
        ),
        (
            "SELECT json_extract_scalar('{{\"a\": \"b\"}}', '$.a'), split('a.b', '.')",
            "SELECT 'b', ['a', 'b']",
        ),
        ("SELECT date_format(a, '%Y-%m-%d %H:%i') FROM {times}", "SELECT '2024-01-31 23:00'"),
        ("SELECT s FROM {texts} WHERE s LIKE 'a!_b' ESCAPE '!'", "SELECT 'a_b'"),
        ("SELECT greatest(1, NULL)", "SELECT NULL"),
    ],
    SPARK: [
        ("SELECT a FROM {nulls} ORDER BY a", "SELECT unnest([NULL, 1, 3])"),
        ("SELECT a FROM {nulls} ORDER BY a DESC", "SELECT unnest([3, 1, NULL])"),
        ("SELECT l[0], size(l) FROM {lists} WHERE k = 1", "SELECT 10, 3"),
        ("SELECT x FROM {lists} LATERAL VIEW explode(l) e AS x", "SELECT unnest([10, 20, NULL])"),
        ("SELECT k, explode(l) FROM {lists}", "SELECT 1, unnest([10, 20, NULL])"),
        ("SELECT datediff(DATE '2024-03-01', DATE '2024-02-28')", "SELECT 2"),
        ("SELECT date_add(d, 3) = DATE '2024-02-07' FROM {times}", "SELECT true"),
        ("SELECT concat('a', NULL), concat_ws(',', 'a', NULL, 'b')", "SELECT NULL, 'a,b'"),
        ("SELECT dayofweek(d), extract(dayofweek FROM d) FROM {times}", "SELECT 1, 1"),
        ("SELECT substring('abc', 0, 2), split('a1b', '[0-9]')", "SELECT 'ab', ['a', 'b']"),
        (
            "SELECT CAST(2.9 AS INT), CAST(-2.9E0 AS INT), CAST('2.9' AS BIGINT), "
            "CAST('x' AS INT), CAST(12345678901234567890.9 AS BIGINT), CAST(TRUE AS INT)",
            "SELECT 2, -2, 2, NULL, NULL, 1",
        ),
        (
            "SELECT CAST(k / 3 AS INT) AS x, CAST(datediff(d, d) AS INT) FROM numbers, {times} "
            "ORDER BY k LIMIT 4",
            "FROM range(4) r(k) SELECT k // 3, 0",
        ),
        ("SELECT 1 <=> NULL, nvl(NULL, 2), if(1 > 2, 1, 2)", "SELECT false, 2, 2"),
        ("SELECT date_format(a, 'yyyy-MM-dd HH:mm') FROM {times}", "SELECT '2024-01-31 23:00'"),
        (r"SELECT s FROM {texts} WHERE s LIKE 'a\\_b'", "SELECT 'a_b'"),
        ("SELECT s RLIKE '^a.b$' FROM {texts} WHERE s IS NOT NULL", "SELECT unnest([true, true])"),
        ("SELECT `a` FROM {nulls} WHERE a > 1", "SELECT 3"),
    ],
    ("snowflake",): [
        ("SELECT a FROM {nulls} ORDER BY a DESC", "SELECT unnest([NULL, 3, 1])"),
        ("SELECT TOP 2 a FROM {nulls} ORDER BY a", "SELECT unnest([1, 3])"),
        ("SELECT a FROM {nulls} QUALIFY row_number() OVER (ORDER BY a) = 1", "SELECT 1"),
        (
            "SELECT datediff(day, a, b), dateadd(day, 1, d) = DATE '2024-02-05' FROM {times}",
            "SELECT 30, true",
        ),
        ("SELECT l[0], array_size(l) FROM {lists} WHERE k = 1", "SELECT 10, 3"),
        (
            "SELECT iff(1 > 2, 1, 2), zeroifnull(NULL), div0(1, 0), nvl2(1, 2, 3)",
            "SELECT 2, 0, 0, 2",
        ),
        ("SELECT regexp_like('xab', 'a.'), regexp_like('ab', 'a.')", "SELECT false, true"),
        (
            "SELECT approx_count_distinct(k), try_cast('x' AS INTEGER) FROM {lists}",
            "SELECT 2, NULL",
        ),
        (
            "SELECT dayofweek(d), listagg(k, ',') FROM {times}, {lists} GROUP BY 1",
            "SELECT 0, '1,2'",
        ),
        ("SELECT s, concat('a', NULL) FROM {texts} WHERE s ILIKE 'AXB'", "SELECT 'axb', NULL"),
        ("SELECT k::varchar || 'x' FROM {lists}", "SELECT unnest(['1x', '2x'])"),
    ],
    ("postgres",): [
        ("SELECT a FROM {nulls} ORDER BY a DESC", "SELECT unnest([NULL, 3, 1])"),
        ("SELECT 'a' || NULL, concat('a', NULL)", "SELECT NULL, 'a'"),
        ("SELECT l[1] FROM {lists} WHERE k = 1", "SELECT 10"),
        ("SELECT x FROM {lists}, unnest(l) AS x", "SELECT unnest([10, 20, NULL])"),
        (
            "SELECT extract(dow FROM d), date_trunc('month', a) = DATE '2024-01-01' FROM {times}",
            "SELECT 0, true",
        ),
        ("SELECT to_char(a, 'YYYY-MM-DD HH24:MI') FROM {times}", "SELECT '2024-01-31 23:00'"),
        (
            "SELECT 'xab' ~ 'a.', 'xab' ~* 'A.', regexp_replace('aba', 'a', 'c'), "
            "regexp_replace('aba', 'a', 'c', 'g')",
            "SELECT true, true, 'cba', 'cbc'",
        ),
        (r"SELECT s FROM {texts} WHERE s LIKE 'a\_b'", "SELECT 'a_b'"),
        (
            "SELECT DISTINCT ON (g) g, k FROM numbers ORDER BY g, k LIMIT 3",
            "SELECT unnest([0, 1, 2]), unnest([0, 1, 2])",
        ),
        ("SELECT a FROM {nulls} ORDER BY a LIMIT 1 OFFSET 1", "SELECT 3"),
        (
            "SELECT y.b FROM {nulls} CROSS JOIN LATERAL (SELECT a + 1 AS b) y ORDER BY 1",
            "SELECT unnest([2, 4, NULL])",
        ),
        ("SELECT string_agg(k::text, ',' ORDER BY k DESC) FROM {lists}", "SELECT '2,1'"),
    ],
    ("redshift",): [
        ("SELECT a FROM {nulls} ORDER BY a DESC", "SELECT unnest([NULL, 3, 1])"),
        ("SELECT TOP 1 a FROM {nulls} ORDER BY a", "SELECT 1"),
        ("SELECT concat('a', NULL), 'a' || NULL", "SELECT NULL, NULL"),
        ("SELECT regexp_replace('aba', 'a', 'c')", "SELECT 'cbc'"),
        ("SELECT datediff(day, a, b), nvl(NULL, 2), len('abc') FROM {times}", "SELECT 30, 2, 3"),
        (
            "SELECT decode(1, 1, 'x', 'y'), approximate count(distinct k) FROM {lists}",
            "SELECT 'x', 2",
        ),
    ],
    ("mysql",): [
        ("SELECT a FROM {nulls} ORDER BY a", "SELECT unnest([NULL, 1, 3])"),
        ("SELECT concat('a', NULL), ifnull(NULL, 2)", "SELECT NULL, 2"),
        ("SELECT timestampdiff(DAY, a, b), dayofweek(d) FROM {times}", "SELECT 29, 1"),
        ("SELECT a FROM {nulls} ORDER BY a DESC LIMIT 1, 1", "SELECT 1"),
        ('SELECT "text", group_concat(k SEPARATOR ";") FROM {lists}', "SELECT 'text', '1;2'"),
        (r"SELECT s FROM {texts} WHERE s LIKE 'a\\_b'", "SELECT 'a_b'"),
    ],
}
CASES = [(d, ours, theirs) for ds, pairs in SAME.items() for ours, theirs in pairs for d in ds]


def spoken(sql: str, dialect: str) -> str:
    """Return a statement with relations in place, written for a dialect."""
    import sqlglot

    named = {"nulls": NULLS, "texts": TEXTS, "lists": LISTS, "times": TIMES}
    for name, relation in named.items():
        if f"{{{name}}}" not in sql:
            continue
        if relation.startswith("(VALUES"):
            column = relation[-2]
            rows = {"a": "SELECT 3 AS a UNION ALL SELECT NULL UNION ALL SELECT 1"}.get(
                column, "SELECT 'a_b' AS s UNION ALL SELECT 'axb' UNION ALL SELECT NULL"
            )
            relation = f"({rows}) AS v"
        relation = relation.removesuffix(" AS v") + f" AS {name}"
        text = sqlglot.transpile(f"SELECT * FROM {relation}", read="duckdb", write=dialect)[0]
        sql = sql.replace(f"{{{name}}}", text.removeprefix("SELECT * FROM "))
    return sql.replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize(("dialect", "ours", "theirs"), CASES)
def test_the_same_answer(quiet, dialect, ours, theirs):
    found = quiet.connection.execute(spoken(ours, dialect), dialect=dialect).fetchall()
    expected = quiet.oracle.sql(theirs).fetchall()
    if "ORDER BY" not in ours:
        found, expected = sorted(found, key=repr), sorted(expected, key=repr)
    assert found == expected


REFUSED = {
    ("trino", "SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES"): "WITH TIES",
    ("trino", "SELECT reduce(l, 0, (s, x) -> s + x, s -> s * 2) FROM t"): "finish",
    ("trino", "SELECT format('%d', 3)"): r"FORMAT\('%d'",
    ("trino", "SELECT zip(a, b) FROM t"): "function zip",
    ("spark", "SELECT x FROM t LATERAL VIEW OUTER explode(l) e AS x"): "LATERAL VIEW OUTER",
    ("spark", "SELECT a FROM t SORT BY a"): "SORT BY",
    ("spark", "SELECT a FROM t DISTRIBUTE BY a"): "DISTRIBUTE BY",
    ("spark", "SELECT date_format(a, 'Q') FROM t"): "date format 'Q'",
    ("spark", "SELECT hash(a) FROM t"): "function hash",
    ("snowflake", "SELECT f.value FROM t, LATERAL FLATTEN(input => l) f"): "FLATTEN",
    ("bigquery", "SELECT EXTRACT(WEEK FROM d)"): r"EXTRACT\(WEEK",
    ("bigquery", "SELECT FORMAT('%d', 3)"): "FORMAT",
    ("postgres", "SELECT to_char(d, 'Day') FROM t"): "date format",
    ("postgres", "SELECT 'a' SIMILAR TO 'a%'"): "SIMILAR TO",
    ("postgres", "SELECT regexp_matches('a', 'b')"): "regexp_matches",
    ("mysql", "SELECT week(d) FROM t"): "WEEK",
    ("postgres", "SELECT 1; SELECT 2"): "one statement",
    ("postgres", "INSERT INTO t VALUES (1)"): "INSERT",
    ("trino", "SET SESSION a = 1"): "SET",
}


@pytest.mark.parametrize(("dialect", "sql"), REFUSED)
def test_what_has_no_equivalent_is_named(quiet, dialect, sql):
    with pytest.raises(Unsupported, match=REFUSED[dialect, sql]):
        quiet.connection.execute(sql, dialect=dialect)


def test_every_known_dialect_is_tested():
    assert {case[0] for case in CASES} | {"duckdb"} == set(DIALECTS)


@pytest.mark.parametrize("dialect", ["klingon", "", "oracle"])
def test_an_unknown_dialect_lists_the_known_ones(quiet, dialect):
    import starling_py

    with pytest.raises(Unsupported) as caught:
        starling_py.connect(dialect=dialect)
    assert "mysql, postgres, presto, redshift, snowflake, spark, trino" in caught.value.hint
    if dialect:
        with pytest.raises(Unsupported, match="no dialect"):
            quiet.connection.execute("SELECT 1", dialect=dialect)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM numbers SELECT max(COLUMNS(* EXCLUDE (s)))",
        "SELECT [x + 1 FOR x IN [1, 2]]",
        "SELECT 7 // 2, {'a': 1}.a, 1_000, #1 FROM range(1)",
    ],
)
def test_duckdb_s_own_text_stays_as_it_is(quiet, sql):
    assert transpile(sql, "duckdb").text == sql
    if "#1" not in sql:
        quiet.check(sql)


def test_errors_point_into_the_text(quiet):
    with pytest.raises(SqlSyntaxError, match=r"line 2, column \d"):
        quiet.connection.execute("SELECT 1\nFROM WHERE", dialect="postgres")
    with pytest.raises(SqlSyntaxError, match=r"line 2, column \d"):
        quiet.connection.execute("EXPLAIN SELECT 1\nFROM WHERE", dialect="postgres")
    with pytest.raises(SqlSyntaxError, match="empty"):
        quiet.connection.execute("-- nothing", dialect="postgres")
    with pytest.raises(UnknownColumn, match="nope"):
        quiet.connection.execute("SELECT nope FROM numbers", dialect="trino")
    with pytest.raises(BindError, match="does not exist"):
        quiet.connection.execute("SELECT width_bucket(1, 0, 1, 2)", dialect="postgres")


def test_other_statements(quiet, tmp_path):
    execute = quiet.connection.execute
    assert execute("SHOW TABLES", dialect="spark").fetchall() == [("numbers",)]
    assert len(execute("DESCRIBE numbers", dialect="trino").fetchall()) == 3
    path = tmp_path / "x.csv"
    execute(f"COPY (SELECT `k` DIV 2 AS h FROM numbers LIMIT 3) TO '{path}'", dialect="spark")
    assert path.read_text() == "h\n0\n0\n1\n"
    try:
        execute("CREATE TABLE made AS SELECT k / 2 AS h FROM numbers", dialect="trino")
        assert execute("SELECT typeof(h), max(h) FROM made GROUP BY 1").fetchall() == [
            ("BIGINT", 999)
        ]
    finally:
        execute("DROP TABLE IF EXISTS made", dialect="mysql")
    ((_, text),) = execute("EXPLAIN SELECT k / 2 AS h FROM numbers", dialect="trino").fetchall()
    assert "//" in text


def test_a_connection_has_a_dialect(quiet):
    from click.testing import CliRunner

    import starling_py

    with starling_py.connect(quiet.folder, dialect="Trino", tasks=2) as connection:
        assert connection.execute("SELECT 7 / 2").fetchall() == [(3,)]
        assert connection.execute("SELECT 7 / 2", dialect="duckdb").fetchall() == [(3.5,)]
        assert connection.execute("SELECT 7 / 2").fetchall() == [(3,)]
        assert connection.explain("SELECT 7 / 2").result[0].type == "INTEGER"
    args = ["query", "SELECT 7 / 2 AS x", "--dialect", "postgres", "--format", "csv", "-q"]
    assert CliRunner().invoke(main, args).output == "x\n3\n"
    done = CliRunner().invoke(main, [*args[:3], "klingon"])
    assert (done.exit_code, "dialects are athena" in done.output) == (1, True)


def test_every_way_to_run_a_statement_has_a_dialect(quiet):
    import asyncio

    spark, expected = "SELECT size(array(1, 2)) + {}", 5
    cursor = asyncio.run(quiet.connection.aexecute(spark.format(3), dialect="spark"))
    assert cursor.fetchall() == [(expected,)]
    with quiet.connection.cursor() as several:
        several.executemany(spark.format("?"), [[1], [3]], dialect="spark")
        assert several.fetchall() == [(expected,)]
