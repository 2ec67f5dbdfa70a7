"""Constructs that sqlglot prints for DuckDB with another meaning than in their dialect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot import exp

from starling_py.planner.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fixed"]

_PRESTO = frozenset(("athena", "presto", "trino"))
_SPARK = frozenset(("databricks", "hive", "spark"))
_FROM_SUNDAY_1 = _SPARK | {"bigquery", "mysql"}
"""Where the days of a week are 1 (Sunday) to 7; DuckDB counts 0 to 6."""
_BACKSLASH_IN_LIKE = _SPARK | {"bigquery", "mysql", "postgres", "redshift"}
_LETTERS_IN_FORMATS = _SPARK | {"postgres", "redshift", "snowflake"}
_OTHER_WEEKS = frozenset(("bigquery", "mysql"))
"""Where a week need not be that of ISO 8601."""

_SAME = frozenset(
    (
        *("age", "bit_length", "char_length", "codepoint", "cot", "degrees", "even", "gcd", "lcm"),
        *(
            "isfinite",
            "isinf",
            "isnan",
            "json_array_length",
            "list_contains",
            "make_date",
            "nextafter",
        ),
        *("parquet_scan", "pi", "radians", "range", "read_parquet", "regr_count", "to_base64"),
        *("typeof", "url_decode", "url_encode"),
    )
)
"""Functions of DuckDB that sqlglot has no node for, and that mean the same wherever they exist."""

_CODES = re.compile(r"%-?[A-Za-z]")
_TIME_FORMATS = (exp.TimeToStr, exp.StrToTime, exp.StrToDate, exp.StrToUnix, exp.TsOrDsToDate)
_INTEGERS = frozenset((exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT))


def fixed(tree: exp.Expr, dialect: str) -> exp.Expr:
    """Return a tree that prints for DuckDB with the meaning that it has in its dialect.

    Raises
    ------
    Unsupported
        For a construct that has no equivalent, by its name.
    """
    for node in tree.find_all(exp.Expr):
        _refuse(node, dialect)
    fixes: list[Callable[[exp.Expr, str], exp.Expr]] = [
        _date_difference,
        _day_of_week,
        _like,
        _redshift,
        _position,
        _truncating_cast,
    ]

    # What is inside first: whatever takes its place may be copied by what is around it.
    for node in reversed(list(tree.walk(bfs=True))):
        new = node
        for change in fixes:
            new = change(new, dialect)
        if new is node:
            continue
        if node is tree:
            tree = new
        else:
            node.replace(new)
    return tree


def _refuse(node: exp.Expr, dialect: str) -> None:
    what = _construct(node, dialect)
    if what:
        raise Unsupported(
            f"{dialect}: {what} cannot be put into DuckDB's SQL",
            hint="Say it another way, or write the statement in DuckDB's own dialect.",
        )


def _construct(node: exp.Expr, dialect: str) -> str:
    """Return the name of a construct that has no equivalent, or nothing."""
    match node:
        case exp.Command():
            return f"{str(node.this).upper()} …"
        case exp.Copy():
            return "COPY of this form"
        case exp.LimitOptions():
            if node.args.get("with_ties"):
                return "FETCH … WITH TIES"
            return "FETCH … PERCENT" if node.args.get("percent") else ""
        case exp.Sort() | exp.Distribute() | exp.Cluster():
            return f"{type(node).__name__.upper()} BY"
        case exp.Lateral() if node.args.get("outer"):
            return "LATERAL VIEW OUTER"
        case exp.Kwarg() if isinstance(node.parent, exp.Explode):
            return "FLATTEN"
        case exp.SimilarTo():
            return "SIMILAR TO"
        case exp.Format() if _printf(node):
            return f"FORMAT({node.this.sql()}, …)"
        case exp.Anonymous() if str(node.this).lower() not in _SAME:
            return f"the function {node.name}"
    return _time(node, dialect)


def _printf(node: exp.Format) -> bool:
    """Return whether a format is more than strings: only these are the same in DuckDB."""
    text = str(node.this.this) if node.this.is_string else "%"
    return any(sign in text.replace("%s", "") for sign in "%{}")


def _time(node: exp.Expr, dialect: str) -> str:
    if isinstance(node, _TIME_FORMATS) and dialect in _LETTERS_IN_FORMATS:
        format_ = node.args.get("format")
        if isinstance(format_, exp.Literal):
            # Where the dialect is strict about digits, sqlglot says so behind a code.
            text = str(format_.this).replace("strict", "")
            if re.search(r"[A-Za-z%]", _CODES.sub("", text)) or _glued(text):
                return f"the date format '{text}'"
    if dialect in _OTHER_WEEKS:
        if isinstance(node, exp.Week):
            return "WEEK()"
        if isinstance(node, exp.Extract) and str(node.this.name).upper() == "WEEK":
            return "EXTRACT(WEEK …)"
    return ""


def _glued(format_: str) -> bool:
    """Return whether letters follow a code directly, as where ``Day`` became ``%uay``."""
    return re.search(r"%-?[A-Za-z](?=[A-Za-z])", format_) is not None


def _date_difference(node: exp.Expr, dialect: str) -> exp.Expr:
    """Count whole units where the dialect does; DuckDB's DATE_DIFF counts the borders between."""
    whole = isinstance(node, exp.DateDiff) and dialect in _PRESTO
    whole = whole or (isinstance(node, exp.TimestampDiff) and dialect in ("bigquery", "mysql"))
    unit = node.args.get("unit")
    if not whole or unit is None:
        return node
    return exp.Anonymous(
        this="DATE_SUB",
        expressions=[exp.Literal.string(unit.name), node.expression, node.this],
    )


def _day_of_week(node: exp.Expr, dialect: str) -> exp.Expr:
    asked = isinstance(node, exp.Extract) and str(node.this.name).upper().replace("_", "")
    if dialect in _PRESTO and asked in ("DOW", "DAYOFWEEK"):
        return exp.Extract(this=exp.var("ISODOW"), expression=node.expression)
    counted = isinstance(node, exp.DayOfWeek) or asked in ("DOW", "DAYOFWEEK")
    if counted and dialect in _FROM_SUNDAY_1:
        return exp.paren(exp.Add(this=node.copy(), expression=exp.Literal.number(1)))
    return node


def _like(node: exp.Expr, dialect: str) -> exp.Expr:
    """Let a backslash escape in a pattern; in DuckDB nothing does unless it is said."""
    if not isinstance(node, exp.Like | exp.ILike) or dialect not in _BACKSLASH_IN_LIKE:
        return node
    pattern = node.expression
    plain = pattern.is_string and "\\" not in str(pattern.this)
    if plain or isinstance(node.parent, exp.Escape) or isinstance(pattern, exp.Any | exp.All):
        return node
    return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))


def _redshift(node: exp.Expr, dialect: str) -> exp.Expr:
    """CONCAT of NULL is NULL, and REGEXP_REPLACE replaces every match."""
    if dialect != "redshift":
        return node
    if isinstance(node, exp.Concat):
        first, *rest = node.expressions
        for each in rest:
            first = exp.DPipe(this=first, expression=each)
        return exp.paren(first) if rest else node
    if isinstance(node, exp.RegexpReplace) and not node.args.get("modifiers"):
        return exp.RegexpReplace(
            this=node.this,
            expression=node.expression,
            replacement=node.args.get("replacement") or exp.Literal.string(""),
            modifiers=exp.Literal.string("g"),
        )
    return node


def _position(node: exp.Expr, dialect: str) -> exp.Expr:
    """Take position 0 of a text for 1 where the dialect does."""
    if isinstance(node, exp.Substring) and dialect in _SPARK | {"bigquery"}:
        start = node.args.get("start")
        if isinstance(start, exp.Literal) and start.name == "0":
            node = node.copy()
            node.set("start", exp.Literal.number(1))
    return node


def _truncating_cast(node: exp.Expr, dialect: str) -> exp.Expr:
    """Cut fractions off in a cast to an integer; DuckDB rounds."""
    if not isinstance(node, exp.Cast) or dialect not in _SPARK or node.to.this not in _INTEGERS:
        return node
    value = node.this
    whole = isinstance(value, exp.Literal) and not value.is_string and value.name.isdecimal()
    if whole or isinstance(value, exp.Count | exp.Length):
        return node
    kind = exp.func("TYPEOF", value.copy())
    text = exp.Cast(this=value.copy(), to=exp.DataType.build("VARCHAR"))
    before_the_point = exp.Anonymous(
        this="SPLIT_PART", expressions=[text, exp.Literal.string("."), exp.Literal.number(1)]
    )
    double = exp.TryCast(this=value.copy(), to=exp.DataType.build("DOUBLE"))
    cut = exp.Anonymous(this="TRUNC", expressions=[double])
    of_text = exp.or_(
        exp.EQ(this=kind.copy(), expression=exp.Literal.string("VARCHAR")),
        exp.Like(this=kind.copy(), expression=exp.Literal.string("DECIMAL%")),
    )
    of_float = exp.In(
        this=kind, expressions=[exp.Literal.string("FLOAT"), exp.Literal.string("DOUBLE")]
    )
    return (
        exp.Case()
        .when(of_float, exp.TryCast(this=cut, to=node.to.copy()))
        .when(of_text, exp.TryCast(this=before_the_point, to=node.to.copy()))
        .else_(exp.TryCast(this=value.copy(), to=node.to.copy()))
    )
