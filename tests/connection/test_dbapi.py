"""What PEP 249 asks of a module, in the order in which it asks."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal

import pytest

import starling_py
from starling_py import dbapi

NAMES = ["Cooper's Pale Ale", "Export Cola", "It's light", "Victoria Bitter", "XXXX"]
ROWS = ", ".join(
    "({}, '{}', {}.50)".format(n, x.replace("'", "''"), n) for n, x in enumerate(NAMES)
)
SELECT = f"SELECT name FROM (VALUES {ROWS}) AS booze(id, name, price) ORDER BY id"


@pytest.fixture(scope="module")
def connection(data):
    with starling_py.connect(data, workers=2) as connected:
        yield connected


@pytest.fixture
def cursor(connection):
    with connection.cursor() as made:
        yield made


# The module


def test_globals():
    assert starling_py.apilevel == "2.0"
    assert starling_py.threadsafety == 2
    assert starling_py.paramstyle == "qmark"
    assert callable(starling_py.connect)


TREE = {
    "Warning": "Exception",
    "Error": "Exception",
    "InterfaceError": "Error",
    "DatabaseError": "Error",
    "DataError": "DatabaseError",
    "OperationalError": "DatabaseError",
    "IntegrityError": "DatabaseError",
    "InternalError": "DatabaseError",
    "ProgrammingError": "DatabaseError",
    "NotSupportedError": "DatabaseError",
}


@pytest.mark.parametrize("name", TREE)
def test_exceptions_form_the_tree(connection, name):
    kind = getattr(starling_py, name)
    above = Exception if TREE[name] == "Exception" else getattr(starling_py, TREE[name])
    assert kind.__mro__[1] is above
    assert getattr(connection, name) is kind


def test_constructors():
    assert starling_py.Date(2002, 12, 25) == dt.date(2002, 12, 25)
    assert starling_py.Time(13, 45, 30) == dt.time(13, 45, 30)
    assert starling_py.Timestamp(2002, 12, 25, 13, 45, 30) == dt.datetime(2002, 12, 25, 13, 45, 30)
    assert starling_py.Binary(b"some\0thing") == b"some\0thing"
    ticks = time.mktime((2002, 12, 25, 13, 45, 30, 0, 0, 0))
    assert str(starling_py.DateFromTicks(ticks)) == "2002-12-25"
    assert str(starling_py.TimeFromTicks(ticks)) == "13:45:30"
    assert str(starling_py.TimestampFromTicks(ticks)) == "2002-12-25 13:45:30"


def test_constructed_values_are_parameters(cursor):
    values = [
        starling_py.Date(2002, 12, 25),
        starling_py.Time(13, 45, 30),
        starling_py.Timestamp(2002, 12, 25, 13, 45, 30),
        starling_py.Binary(b"a\0"),
        None,
    ]
    assert cursor.execute("SELECT ?, ?, ?, ?, ?", values).fetchall() == [tuple(values)]


KINDS = {
    "STRING": ["VARCHAR", "ENUM('a')", "JSON", "UUID"],
    "BINARY": ["BLOB", "BIT"],
    "NUMBER": ["BOOLEAN", "TINYINT", "UBIGINT", "HUGEINT", "UHUGEINT", "DOUBLE", "DECIMAL(9,2)"],
    "DATETIME": ["DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "TIMETZ", "TIMESTAMP_NS", "INTERVAL"],
    None: ["INTEGER[]", "VARCHAR[2]", "STRUCT(a INTEGER)", "MAP(VARCHAR, DATE)", "DECIMAL(9,2)[]"],
}


@pytest.mark.parametrize(("kind", "types"), KINDS.items(), ids=map(str, KINDS))
def test_type_codes_equal_one_type_object(cursor, kind, types):
    items = ", ".join(f"NULL::{type_}" for type_ in types)
    cursor.execute(f"SELECT {items}")
    for column in cursor.description:
        for name in ("STRING", "BINARY", "NUMBER", "DATETIME", "ROWID"):
            assert (column[1] == getattr(starling_py, name)) is (name == kind), column


def test_type_objects_differ():
    objects = {dbapi.STRING, dbapi.BINARY, dbapi.NUMBER, dbapi.DATETIME, dbapi.ROWID}
    assert len(objects) == 5
    assert repr(dbapi.STRING) == "STRING"
    assert dbapi.STRING != dbapi.BINARY


# Connections


def test_commit_and_rollback_do_nothing(connection):
    assert connection.commit() is None
    assert connection.rollback() is None


def test_a_connection_can_be_used_only_until_it_is_closed(data):
    connection = starling_py.connect(data)
    cursor = connection.execute("SELECT 1")
    connection.close()
    connection.close()
    for use in (
        connection.cursor,
        connection.commit,
        connection.rollback,
        connection.tables,
        lambda: connection.execute("SELECT 1"),
        lambda: connection.executemany("SELECT ?", [[1]]),
        lambda: connection.explain("SELECT 1"),
        lambda: cursor.execute("SELECT 1"),
        cursor.fetchone,
        cursor.fetchall,
        cursor.arrow,
    ):
        with pytest.raises(starling_py.Error) as caught:
            use()
        assert isinstance(caught.value, starling_py.InterfaceError | starling_py.ProgrammingError)
        assert caught.value.code == "CLOSED"


def test_as_context_managers(data):
    with starling_py.connect(data) as connection:
        with connection.cursor() as cursor:
            assert cursor.connection is connection
        with pytest.raises(starling_py.InterfaceError, match="cursor is closed"):
            cursor.execute("SELECT 1")
    with pytest.raises(starling_py.InterfaceError, match="closed"):
        connection.cursor()


# Cursors


def test_description(cursor):
    assert cursor.description is None
    cursor.execute("SELECT 1::DECIMAL(9,2) AS price, 'x' AS \"a name\", 1::SMALLINT, [1]")
    for column in cursor.description:
        assert len(column) == 7
    price, name, small, listed = cursor.description
    assert price == ("price", "DECIMAL(9,2)", None, None, 9, 2, True)
    assert (price.precision, price.scale, price.null_ok) == (9, 2, True)
    assert name[:2] == ("a name", "VARCHAR")
    assert small[4:6] == (5, 0)
    assert listed[4:6] == (None, None)
    with pytest.raises(starling_py.ProgrammingError):
        cursor.execute("SELECT nothing")
    assert cursor.description is None


def test_rowcount(cursor):
    assert cursor.rowcount == -1
    cursor.execute(SELECT)
    assert cursor.rowcount == len(NAMES)
    cursor.execute("SELECT 1 WHERE false")
    assert cursor.rowcount == 0
    with pytest.raises(starling_py.Error):
        cursor.execute("SELECT nothing")
    assert cursor.rowcount == -1


@pytest.mark.parametrize(
    "use",
    [
        lambda cursor: cursor.fetchone(),
        lambda cursor: cursor.fetchmany(4),
        lambda cursor: cursor.fetchall(),
        lambda cursor: cursor.arrow(),
        lambda cursor: next(cursor),
        lambda cursor: cursor.run,
    ],
)
def test_fetching_without_an_answer_is_an_error(cursor, use):
    with pytest.raises(starling_py.ProgrammingError, match="no query has run"):
        use(cursor)
    with pytest.raises(starling_py.Error):
        cursor.execute("SELEC 1")
    with pytest.raises(starling_py.ProgrammingError, match="no query has run"):
        use(cursor)


def test_a_closed_cursor_that_has_run_nothing_says_that_it_is_closed(cursor):
    cursor.close()
    with pytest.raises(starling_py.Error, match="closed"):
        _ = cursor.run


def test_fetchone(cursor):
    cursor.execute("SELECT 1 WHERE false")
    assert cursor.fetchone() is None
    cursor.execute(SELECT)
    assert [cursor.fetchone() for _ in range(6)] == [*[(name,) for name in NAMES], None]


def test_fetchmany(cursor):
    cursor.execute(SELECT)
    assert cursor.arraysize == 1
    assert len(cursor.fetchmany()) == 1
    cursor.arraysize = 3
    assert len(cursor.fetchmany()) == 3
    assert len(cursor.fetchmany(4)) == 1
    assert cursor.fetchmany(4) == []
    cursor.execute(SELECT)
    assert cursor.fetchmany(0) == []
    assert [name for (name,) in cursor.fetchmany(99)] == NAMES
    for wrong in (0, -1, 1.5, "2", True, None):
        with pytest.raises(starling_py.ProgrammingError, match="number of rows"):
            cursor.arraysize = wrong
    with pytest.raises(starling_py.ProgrammingError, match="number of rows"):
        cursor.fetchmany(-1)


def test_fetches_mix(cursor):
    cursor.execute(SELECT)
    got = [cursor.fetchone(), *cursor.fetchmany(2), next(cursor), *cursor.fetchall()]
    assert [name for (name,) in got] == NAMES
    assert list(cursor) == []


def test_rows_are_sequences_of_one_type(cursor):
    (row,) = cursor.execute("SELECT 1, 'a', NULL, 1.5").fetchall()
    assert type(row) is tuple
    assert row == (1, "a", None, Decimal("1.5"))


def test_iteration(cursor):
    assert iter(cursor) is cursor
    assert [name for (name,) in cursor.execute(SELECT)] == NAMES


def test_cursors_are_apart(connection):
    one, two = connection.cursor(), connection.cursor()
    one.execute(SELECT)
    two.execute("SELECT 2")
    assert one.fetchone() == (NAMES[0],)
    assert two.fetchall() == [(2,)]
    one.close()
    assert two.execute("SELECT 3").fetchall() == [(3,)]


def test_executemany(cursor):
    cursor.executemany("SELECT i FROM t WHERE i < ? ORDER BY ALL", [(1,), [2], [3]])
    assert cursor.rowcount == 2 + 4 + 6
    assert cursor.fetchall() == [(0,), (0,), (1,), (1,), (2,), (2,)]
    cursor.executemany("SELECT $a", ({"a": n} for n in range(2)))
    assert cursor.fetchall() == [(1,)]
    cursor.executemany("SELECT ?", [])
    assert cursor.rowcount == 0
    assert cursor.description is None
    with pytest.raises(starling_py.ProgrammingError):
        cursor.executemany("SELECT ?", [[1], [1, 2]])
    with pytest.raises(starling_py.ProgrammingError):
        cursor.executemany("SELECT ?", "ab")


def test_sizes_are_taken_and_of_no_use(cursor):
    cursor.setinputsizes((25, None))
    cursor.setoutputsize(1000)
    cursor.setoutputsize(2000, 0)
    assert cursor.execute(SELECT).rowcount == len(NAMES)


def test_there_is_one_answer(cursor):
    assert cursor.execute(SELECT).nextset() is None
    assert cursor.lastrowid is None
    with pytest.raises(starling_py.NotSupportedError, match="one statement"):
        cursor.execute("SELECT 1; SELECT 2")


def test_close(connection):
    cursor = connection.execute(SELECT)
    cursor.close()
    cursor.close()
    for use in (
        lambda: cursor.execute("SELECT 1"),
        lambda: cursor.executemany("SELECT 1", [[]]),
        cursor.fetchone,
        cursor.fetchmany,
        cursor.fetchall,
        cursor.nextset,
        cursor.df,
        cursor.fetch_record_batch_reader,
        lambda: cursor.setinputsizes([]),
        lambda: cursor.setoutputsize(1),
        lambda: next(cursor),
    ):
        with pytest.raises(starling_py.InterfaceError, match="cursor is closed"):
            use()


ERRORS = [
    ("SELEC 1", starling_py.ProgrammingError, "SQL_SYNTAX"),
    ("SELECT * FROM nothing", starling_py.ProgrammingError, "UNKNOWN_TABLE"),
    ("SELECT nothing FROM t", starling_py.ProgrammingError, "UNKNOWN_COLUMN"),
    ("SELECT 1; SELECT 2", starling_py.NotSupportedError, "UNSUPPORTED"),
    ("DELETE FROM t", starling_py.NotSupportedError, "UNSUPPORTED"),
    ("SELECT ?", starling_py.ProgrammingError, "PARAMETERS"),
    ("SELECT CAST(s AS INTEGER) FROM t", starling_py.DataError, "TASK_FAILED"),
    ("SELECT error('no') FROM t", starling_py.DataError, "TASK_FAILED"),
]


@pytest.mark.parametrize(("sql", "kind", "code"), ERRORS)
def test_errors_are_of_the_right_class(cursor, sql, kind, code):
    with pytest.raises(kind) as caught:
        cursor.execute(sql)
    assert caught.value.code == code
    assert cursor.description is None


# With tables that the statements make themselves: INSERT, UPDATE and DELETE are excluded, because
# files are not changed in place (docs/dbapi.md).


@pytest.fixture
def bar(tmp_path):
    """A connection to a folder with a table of beers."""
    with starling_py.connect(tmp_path, workers=2) as connected:
        connected.execute(f"CREATE TABLE booze AS SELECT * FROM (VALUES {ROWS}) v(id, name, price)")
        yield connected


def test_a_table_is_made_and_read(bar):
    cursor = bar.cursor()
    cursor.execute("SELECT name FROM booze WHERE price < :most ORDER BY id", {"most": 2})
    assert cursor.description[0][0].lower() == "name"
    assert cursor.description[0][1] == starling_py.STRING
    assert cursor.fetchall() == [(name,) for name in NAMES[:2]]
    assert cursor.fetchall() == []


def test_what_one_cursor_makes_another_one_sees(bar):
    one, two = bar.cursor(), bar.cursor()
    one.execute("CREATE TABLE cheap AS SELECT name FROM booze WHERE id = ?", [3])
    bar.commit()
    assert two.execute("FROM cheap").fetchall() == [(NAMES[3],)]
    bar.rollback()
    assert two.execute("SELECT count(*) FROM cheap").fetchone() == (1,)


def test_statements_that_make_tables_answer_with_a_count(bar):
    cursor = bar.cursor()
    cursor.execute("CREATE TABLE more AS SELECT * FROM booze WHERE id > ?", [0])
    assert cursor.fetchall() == [(4,)]
    cursor.execute("DROP TABLE more")
    assert cursor.fetchall() == []
    assert cursor.fetchone() is None


def test_executemany_makes_several_tables(bar, tmp_path):
    sql = f"COPY (SELECT name FROM booze WHERE id = ?) TO '{tmp_path}/out' (FORMAT parquet, APPEND)"
    cursor = bar.cursor()
    cursor.executemany(sql, [[0], [1], [4]])
    assert sorted(bar.execute(f"FROM '{tmp_path}/out/*.parquet'").fetchall()) == sorted(
        [(NAMES[0],), (NAMES[1],), (NAMES[4],)]
    )


def test_null_goes_in_and_comes_out(bar):
    bar.execute("CREATE TABLE nulls AS SELECT ?::INTEGER AS n, ? AS name", [None, "x"])
    assert bar.execute("FROM nulls").fetchall() == [(None, "x")]
    assert bar.execute(
        "SELECT count(*) FROM nulls WHERE n IS NOT DISTINCT FROM ?", [None]
    ).fetchone() == (1,)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO booze VALUES (?, ?, ?)",
        "UPDATE booze SET price = ?",
        "DELETE FROM booze WHERE id = ?",
        "CREATE TABLE empty (name VARCHAR(20))",
        "CALL lower(?)",
        "BEGIN",
    ],
)
def test_what_is_excluded_is_refused_by_name(bar, sql):
    with pytest.raises(starling_py.NotSupportedError) as caught:
        bar.execute(sql, [1, "x", 2.5][: sql.count("?")])
    assert caught.value.code == "UNSUPPORTED"
    assert caught.value.hint
    assert not hasattr(bar.cursor(), "callproc")
