"""What the text names, how calls of read_parquet are replaced in it, and where errors point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from starling_py.planner.bind import Binder
from starling_py.planner.edits import edited
from starling_py.planner.errors import SqlSyntaxError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import World


@pytest.fixture(scope="module")
def binder() -> Iterator[Binder]:
    made = Binder()
    yield made
    made.close()


# A path that exists only in these texts, with what else stands around it.
CALLS = {
    "FROM read_parquet('a.parquet')": 'FROM "f0" AS read_parquet',
    "FROM read_parquet('a.parquet') AS x": 'FROM "f0" AS x',
    "FROM parquet_scan('a.parquet') x": 'FROM "f0" x',
    "FROM READ_PARQUET ( 'a.parquet' ) x": 'FROM "f0" x',
    "SELECT ')' FROM read_parquet('a) (b.parquet') x": "SELECT ')' FROM \"f0\" x",
    "FROM read_parquet('it''s).parquet') x": 'FROM "f0" x',
    "FROM read_parquet(['a.parquet', 'b(.parquet']) x": 'FROM "f0" x',
    "FROM read_parquet('a.parquet', filename = true) x": 'FROM "f0" x',
    "FROM read_parquet('a.parquet', hive_types = {'k': 'DECIMAL(9,2)'}) x": 'FROM "f0" x',
    "SELECT 'grün€😀' AS ü FROM read_parquet('a.parquet') x": "SELECT 'grün€😀' AS ü FROM \"f0\" x",
    "SELECT 'read_parquet(''a'')' FROM read_parquet('ä.parquet') x": (
        "SELECT 'read_parquet(''a'')' FROM \"f0\" x"
    ),
    "FROM /* read_parquet('no') */ read_parquet('a.parquet') x -- ( '": (
        "FROM /* read_parquet('no') */ \"f0\" x -- ( '"
    ),
    "FROM read_parquet('a.parquet') a, read_parquet('b.parquet') b": 'FROM "f0" a, "f1" b',
    "SELECT (SELECT count(*) FROM read_parquet('a.parquet')) FROM read_parquet('b.parquet') b": (
        'SELECT (SELECT count(*) FROM "f0" AS read_parquet) FROM "f1" b'
    ),
    "WITH c AS (FROM read_parquet('a.parquet')) FROM c": (
        'WITH c AS (FROM "f0" AS read_parquet) FROM c'
    ),
}


# Strings and comments that hold quotes and parentheses, which are not plain strings.
LEXED = [
    "FROM read_parquet('a.parquet' /* it's ) */) x",
    "FROM read_parquet('a.parquet' -- it's )\n) x",
    "FROM read_parquet($$it's).parquet$$) x",
    "FROM read_parquet($a$it's $$ ).parquet$a$) x",
    "FROM read_parquet(E'it\\'s).parquet') x",
]


def replaced(binder: Binder, text: str) -> str:
    """Return the text with calls replaced by names that number them by their place."""
    source = binder.parse(text)
    starts = sorted(call.start for call in source.files)
    names = tuple(f"f{starts.index(call.start)}" for call in source.files)
    return edited(source, names, (), frozenset()).text


@pytest.mark.parametrize("text", CALLS)
def test_calls_are_replaced(binder: Binder, text: str) -> None:
    assert replaced(binder, text) == CALLS[text]


@pytest.mark.parametrize("text", LEXED)
def test_calls_end_where_duckdb_says(binder: Binder, text: str) -> None:
    assert replaced(binder, text) == 'FROM "f0" x'


def test_patterns_and_options(binder: Binder) -> None:
    (call,) = binder.parse(
        "FROM read_parquet(['it''s', 'b'], hive_partitioning = 1, filename => true)"
    ).files
    assert call.patterns == ("it's", "b")
    assert call.options == {"hive_partitioning": "1", "filename": True}


def test_names(binder: Binder) -> None:
    source = binder.parse("WITH c AS (FROM a) SELECT * FROM c, main.B JOIN 'x/*.parquet' ON true")
    assert set(source.tables) == {"a", "c", "B", "x/*.parquet"}


STARS = [
    "SELECT * FROM '{}' WHERE filename LIKE '%1.parquet'",
    "SELECT *, filename FROM '{}'",
    "SELECT 'é*', * FROM '{}' WHERE file_row_number < 2",
    "SELECT count(*), max(file_row_number) FROM '{}'",
    "SELECT n FROM (SELECT *, file_row_number AS n FROM read_parquet('{}')) WHERE n = 3",
    "FROM '{}'",
    "FROM read_parquet('{}', filename = true, file_row_number = true)",
    "SELECT a.k, b.id FROM '{}' a JOIN read_parquet('{}') b ON a.id = b.id",
    "SELECT read_parquet.k FROM read_parquet('{}')",
    "SELECT x.* FROM read_parquet('{}') AS x(one, two)",
    "SELECT é.id AS \"é\" FROM read_parquet('{}') /* ) ' */ AS é WHERE é.g <> 'ü)'",
    "SELECT k, COUNT(*) FROM read_parquet(['{}']) GROUP BY ALL",
]


@pytest.mark.parametrize("text", STARS)
@pytest.mark.parametrize("tasks", [2, None])
def test_paths_are_read_as_duckdb_reads_them(
    world: World, tables_folder: Path, text: str, tasks: int | None
) -> None:
    world.check(text.replace("{}", f"{tables_folder}/l/*.parquet"), tasks)


def test_star_over_a_subquery_that_names_a_virtual_column(
    world: World, tables_folder: Path
) -> None:
    text = "SELECT * FROM (SELECT id, file_row_number AS n FROM read_parquet('{}')) WHERE n = 3"
    world.check(text.replace("{}", f"{tables_folder}/l/*.parquet"), 2)


REFUSED = {
    "CREATE TABLE t AS SELECT 1": "CREATE",
    "INSERT INTO l VALUES (1)": "INSERT",
    "DELETE FROM l": "DELETE",
    "UPDATE l SET k = 1": "UPDATE",
    "DROP TABLE l": "DROP",
    "COPY l TO 'x.csv'": "COPY",
    "ATTACH 'x.db'": "ATTACH",
    "SET threads = 1": "SET",
    "PRAGMA version": "PRAGMA",
    "EXPLAIN SELECT 1": "EXPLAIN",
    "BEGIN": "TRANSACTION",
    "CALL pragma_version()": "CALL",
    "SELECT 1; SELECT 2": "one statement at a time",
    "SHOW TABLES": "SHOW",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_one_select_is_refused_by_name(world: World, text: str) -> None:
    with pytest.raises(Unsupported, match=REFUSED[text]):
        world.plan(text, 2)


ERRORS = {
    "SELEC 1": (1, 1, "SELEC 1"),
    "SELECT 1 +": (1, 10, "SELECT 1 +"),
    "SELECT k\nFROM l\nWHERE (k = 1\n  AND ) x": (4, 7, "  AND ) x"),
    "SELECT 'grün', 'ü' FORM l": (1, 25, "SELECT 'grün', 'ü' FORM l"),
    "SELECT '😀', , 2": (1, 13, "SELECT '😀', , 2"),
    "SELECT 1 FROM l WHERE\tk =\t) ": (1, 27, "SELECT 1 FROM l WHERE k = ) "),
}


@pytest.mark.parametrize("text", ERRORS)
def test_syntax_errors_point_at_the_place(world: World, text: str) -> None:
    with pytest.raises(SqlSyntaxError) as caught:
        world.plan(text, 2)
    line, column, shown = ERRORS[text]
    first, *_, source, caret = caught.value.message.splitlines()
    assert f"(line {line}, column {column})" in first
    assert (source, caret) == (f"  {shown}", " " * (column + 1) + "^")


def test_a_long_line_is_shown_around_the_place(world: World) -> None:
    text = "SELECT " + ", ".join(f"column_{n}" for n in range(50)) + ", , 1 FROM l"
    with pytest.raises(SqlSyntaxError) as caught:
        world.plan(text, 2)
    *_, source, caret = caught.value.message.splitlines()
    assert len(source) < 80
    assert source[len(caret) - 1] == ","


@pytest.mark.parametrize("text", ["", "   ", "-- nothing", ";"])
def test_no_statement_at_all(world: World, text: str) -> None:
    with pytest.raises(SqlSyntaxError, match="empty"):
        world.plan(text, 2)
