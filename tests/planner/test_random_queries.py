"""Random statements, answered as DuckDB answers them, whatever the plan.

``FUZZ_EXAMPLES=5000 pytest tests/planner/test_random_queries.py`` tries that many new ones; without
it the same few statements run each time. A statement's numbers are integers, decimals or sums of
small powers of two, so that no order of addition changes them.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, Literal, NamedTuple

import duckdb
import pytest
from hypothesis import HealthCheck, event, given, note, reject, settings
from hypothesis import strategies as st

from starling_py.planner.distribute import distributor
from starling_py.planner.placement import Choice, JoinPlacement, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import World
    from hypothesis.strategies import SearchStrategy

    from starling_py.operators.plan import StagePlan

LENGTH = 250
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

TABLES = {
    "l": {"k": "int", "id": "int", "v": "dbl", "g": "text", "d": "date", "x": "dbl"},
    "r": {"k2": "int", "id2": "int", "w": "dbl", "h": "text"},
    "u": {"uk": "int", "name": "text", "grp": "int"},
    "mid": {"mk": "int", "mid": "int", "m": "dec", "b": "bool", "t": "time"},
    "few": {"a": "int"},
    "no_nulls": {"k3": "int"},
    "only_nulls": {"k4": "int", "id4": "int"},
    "empty": {"k5": "int", "id5": "int"},
}
OFTEN = ("l", "l", "l", "r", "r", "u", "mid", "mid", "few", "no_nulls", "only_nulls", "empty")

CONSTANTS = {
    "int": ("3", "1", "0", "7", "5", "12", "40", "2", "NULL"),
    "dec": ("0.5", "2.25", "-1.5", "7.0"),
    "dbl": ("0.0::DOUBLE", "1.5::DOUBLE", "-0.25::DOUBLE"),
    "text": ("'g1'", "'h2'", "'name 7'", "''", "NULL"),
    "date": ("DATE '2020-01-05'", "DATE '2020-01-12'"),
    "time": ("TIMESTAMP '2020-01-01 12:00:00'", "TIMESTAMP '2020-01-02 08:00:00'"),
    "bool": ("true", "false"),
}
TYPES = {"int": "BIGINT", "text": "VARCHAR", "date": "DATE", "time": "TIMESTAMP", "bool": "BOOLEAN"}
TYPES |= {"dec": "DECIMAL(18,3)", "dbl": "DOUBLE"}
COMPARED = ("int", "dec", "dbl", "text", "date", "time")


class Item(NamedTuple):
    """A column that an expression may name, or a column of a SELECT."""

    sql: str
    kind: str


class Query(NamedTuple):
    sql: str
    kinds: tuple[str, ...]
    order: tuple[int, ...] = ()


class Maker:
    """Makes one statement out of bytes, which shrink better than draws of many kinds.

    ``scope`` may be named everywhere, ``outer`` by a subquery. Where the bytes end, the simplest
    choice is taken.
    """

    def __init__(self, choices: bytes) -> None:
        self._choices = iter(choices)
        self._names = count()
        self._ctes: dict[str, tuple[str, ...]] = {}

    def pick(self, *choices: str) -> str:
        return choices[self.number(0, len(choices) - 1)]

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent

    def number(self, low: int, high: int) -> int:
        return low + next(self._choices, 0) % (high - low + 1)

    def statement(self) -> Query:
        ctes = []
        for _ in range(self.number(0, 2) if self.chance(35) else 0):
            definition = self.select(1)
            name = f"q{next(self._names)}"
            word = self.pick("", "", "MATERIALIZED ", "NOT MATERIALIZED ")
            columns = ", ".join(f"c{at}" for at in range(len(definition.kinds)))
            ctes.append(f"{name}({columns}) AS {word}({definition.sql})")
            self._ctes[name] = definition.kinds
        # Deep statements filter away most rows, and with them what would be wrong.
        depth = (0, 1, 1, 1, 2, 2)[self.number(0, 5)]
        body = (
            self.set_operation(depth) if depth and self.chance(20) else self.select(depth, top=True)
        )
        text = f"WITH {', '.join(ctes)}\n{body.sql}" if ctes else body.sql
        if self.chance(30):
            return self._ordered(text, body.kinds)
        return Query(text, body.kinds)

    def _ordered(self, text: str, kinds: tuple[str, ...]) -> Query:
        """Order by all columns, in some sequence: rows that tie are equal."""
        left = list(range(len(kinds)))
        places = [left.pop(self.number(0, len(left) - 1)) for _ in kinds]
        keys = ", ".join(
            f"{at + 1}{self.pick('', ' DESC')}{self.pick('', ' NULLS FIRST', ' NULLS LAST')}"
            for at in places
        )
        text += f"\nORDER BY {keys}"
        if self.chance(60):
            text += f" LIMIT {self.number(0, 30)}"
            if self.chance(40):
                text += f" OFFSET {self.number(0, 12)}"
        return Query(text, kinds, tuple(places))

    def set_operation(self, depth: int) -> Query:
        first = self.select(depth - 1)
        parts = [f"({first.sql})"]
        for _ in range(self.number(1, 2)):
            word = self.pick("UNION ALL", "UNION", "EXCEPT", "INTERSECT", "EXCEPT ALL")
            parts += [word, f"({self.select(depth - 1, first.kinds).sql})"]
        return Query(" ".join(parts), first.kinds)

    def select(
        self,
        depth: int,
        kinds: tuple[str, ...] = (),
        outer: Sequence[Item] = (),
        *,
        top: bool = False,
    ) -> Query:
        source, scope = self.relation(depth)
        where = self._where(scope, depth, outer)
        if self.chance(40):
            return self._grouped(source, scope, where, depth, kinds)
        wanted = kinds or tuple(self.kind_of(scope) for _ in range(self.number(1, 4)))
        windowed = not outer and self.chance(25)
        items = [
            self.window(kind, scope)
            if windowed and self.chance(60)
            else self.value(kind, scope, depth)
            for kind in wanted
        ]
        word = "DISTINCT " if self.chance(20) else ""
        shown = ", ".join(f"{item} AS c{at}" for at, item in enumerate(items))
        if windowed and self.chance(25):
            where += f"\nQUALIFY {self.window('int', scope)} {self.operator()} {self.number(0, 9)}"
        if not outer and not windowed and self.chance(8):
            # Rows that tie in all columns are equal.
            every = ", ".join(str(at + 1) for at in range(len(wanted)))
            text = (
                f"SELECT DISTINCT ON ({items[0]}) {shown}\nFROM {source}{where}\nORDER BY {every}"
            )
            return Query(f"SELECT * FROM ({text})", wanted)
        query = Query(f"SELECT {word}{shown}\nFROM {source}{where}", wanted)
        if depth < 2 and not outer and not top and self.chance(15):
            return Query(self._ordered(query.sql, wanted).sql, wanted)
        return query

    def _where(self, scope: Sequence[Item], depth: int, outer: Sequence[Item]) -> str:
        several = (0, 0, 0, 1, 1, 2)[self.number(0, 5)]
        conditions = [self.condition(scope, depth) for _ in range(several)]
        if outer and self.chance(85):
            conditions.append(self._comparison(scope, outer))
            if self.chance(25):
                conditions.append(self._comparison(scope, outer))
        return "\nWHERE " + " AND ".join(conditions) if conditions else ""

    def _grouped(
        self,
        source: str,
        scope: Sequence[Item],
        where: str,
        depth: int,
        kinds: tuple[str, ...],
    ) -> Query:
        wanted = kinds or tuple(
            self.pick("int", "int", self.kind_of(scope)) for _ in range(self.number(1, 4))
        )
        keys = self.number(0, min(2, len(wanted)))
        items = [self.value(kind, scope, 0) for kind in wanted[:keys]]
        items += [self.aggregate(kind, scope) for kind in wanted[keys:]]
        if keys == len(wanted):
            keys = max(keys, 1)
        shown = ", ".join(f"{item} AS c{at}" for at, item in enumerate(items))
        text = f"SELECT {shown}\nFROM {source}{where}"
        if keys and self.chance(30):
            text += f"\nGROUP BY {self._sets(items[:keys])}"
        elif keys:
            text += "\nGROUP BY " + ", ".join(str(at + 1) for at in range(keys))
        if self.chance(25):
            text += f"\nHAVING {self.aggregate('int', scope)} {self.operator()} {self.number(0, 9)}"
            if depth and self.chance(20):
                text += f" OR {self.aggregate('int', scope)} > {self._scalar('int', (), depth)}"
        return Query(text, wanted)

    def _sets(self, keys: list[str]) -> str:
        listed = ", ".join(keys)
        return self.pick(
            f"ROLLUP ({listed})",
            f"CUBE ({listed})",
            f"GROUPING SETS (({listed}), ({keys[0]}), ({keys[-1]}))",
            f"GROUPING SETS (({listed}), (), ({keys[-1]}), ())",
        )

    def window(self, kind: str, scope: Sequence[Item]) -> str:
        """Return a window function whose answer no tie makes ambiguous."""
        partition = ", ".join(self.pick(*(i.sql for i in scope)) for _ in range(self.number(0, 2)))
        by = f"PARTITION BY {partition} " if partition else ""
        key = f"{self.pick(*(i.sql for i in scope))}{self.pick('', ' DESC', ' NULLS FIRST')}"
        # Rows that tie in all columns are equal.
        every = ", ".join(item.sql for item in scope)
        column = self.column(kind, scope)
        if kind == "int" and self.chance(50):
            number = self.pick("rank()", "dense_rank()")
            in_order = self.pick("row_number()", "ntile(3)", f"lag({column}, 2)")
            return self.pick(
                f"{number} OVER ({by}ORDER BY {key})",
                f"{in_order} OVER ({by}ORDER BY {every})",
                f"count(DISTINCT {self.pick(*(i.sql for i in scope))}) OVER ({by.strip()})",
            )
        frame = self.pick(
            "",
            f"ORDER BY {key}",
            f"ORDER BY {every} ROWS BETWEEN {self.number(0, 3)} PRECEDING AND 1 FOLLOWING",
            f"ORDER BY {key} GROUPS BETWEEN 1 PRECEDING AND {self.number(0, 2)} FOLLOWING "
            + self.pick("", "EXCLUDE TIES", "EXCLUDE GROUP"),
            f"ORDER BY {key} RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        )
        if frame.startswith(f"ORDER BY {every}") and self.chance(50):
            name = self.pick("first_value", "last_value")
            nulls = self.pick("", " IGNORE NULLS")
            return f"{name}({column}{nulls}) OVER ({by}{frame})"
        name = self.pick("min", "max", *(("sum",) if kind in ("int", "dec", "dbl") else ()))
        text = f"{name}({column})"
        if self.chance(20):
            text += f" FILTER (WHERE {self.condition(scope, 0)})"
        return f"{text} OVER ({by}{frame})"

    def relation(self, depth: int) -> tuple[str, list[Item]]:
        source, scope = self._leaf(depth)
        for _ in range(self.number(0, 2) if self.chance(55) else 0):
            right, columns = self._leaf(depth)
            if depth and self.chance(8):
                inner = self.select(0, outer=scope)
                name = f"t{next(self._names)}"
                source = f"{source}, LATERAL ({inner.sql}) AS {name}"
                scope = scope + [Item(f"{name}.c{at}", k) for at, k in enumerate(inner.kinds)]
                continue
            if self.chance(8):
                name = f"t{next(self._names)}"
                lists = ", ".join(self.column("int", scope) for _ in range(self.number(1, 3)))
                source = f"{source}, unnest([{lists}]) AS {name}(u)"
                scope = [*scope, Item(f"{name}.u", "int")]
                continue
            if self.chance(8):
                # Of unique values none is as near as another.
                name = f"t{next(self._names)}"
                on = f"{self.column('int', scope)} {self.pick('>=', '>', '<=', '<')} {name}.uk"
                if self.chance(60):
                    on = f"{self.column('int', scope)} = {name}.grp AND {on}"
                source = f"{source}\nASOF {self.pick('JOIN', 'LEFT JOIN')} u AS {name} ON {on}"
                scope = scope + [Item(f"{name}.{c}", k) for c, k in TABLES["u"].items()]
                continue
            word = self.pick("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
            on = self._comparison(scope, columns, ("=",) * 6 + ("IS NOT DISTINCT FROM",))
            if word != "FULL JOIN" and self.chance(25):
                on += f" AND {self._comparison(scope, columns)}"
            elif word == "JOIN" and self.chance(10):
                on = self._comparison(scope, columns)
            if word != "FULL JOIN" and self.chance(15):
                on += f" AND {self.condition(self._one_side(scope, columns), 0)}"
            source = f"{source}\n{word} {right} ON {on}"
            scope = scope + columns
        return source, scope

    def _one_side(self, left: list[Item], right: list[Item]) -> list[Item]:
        return left if self.chance(50) else right

    def _leaf(self, depth: int) -> tuple[str, list[Item]]:
        name = f"t{next(self._names)}"
        if self._ctes and self.chance(45):
            cte = self.pick(*self._ctes)
            kinds = self._ctes[cte]
            return f"{cte} AS {name}", [Item(f"{name}.c{at}", k) for at, k in enumerate(kinds)]
        if depth and self.chance(20):
            inner = self.set_operation(1) if self.chance(25) else self.select(depth - 1)
            columns = [Item(f"{name}.c{at}", k) for at, k in enumerate(inner.kinds)]
            names = ", ".join(f"c{at}" for at in range(len(columns)))
            return f"({inner.sql}) AS {name}({names})", columns
        table = self.pick(*OFTEN)
        return f"{table} AS {name}", [Item(f"{name}.{c}", k) for c, k in TABLES[table].items()]

    def kind_of(self, scope: Sequence[Item]) -> str:
        if self.chance(10):
            return self.pick("int", "dec", "dbl", "text", "date", "bool")
        return self.pick(*(item.kind for item in scope))

    def operator(self) -> str:
        return self.pick("=", "<", ">", "<=", ">=", "<>", ">=", "<>")

    def _comparison(
        self, left: Sequence[Item], right: Sequence[Item], operators: tuple[str, ...] = ()
    ) -> str:
        common = sorted({i.kind for i in left} & {i.kind for i in right} & set(COMPARED))
        kind = self.pick(*common, *(["int"] * 3 if "int" in common else [])) if common else "text"
        operator = self.pick(*operators) if operators else self.operator()
        if not operators and self.chance(60):
            operator = "="
        sides = [
            self.pick(*(i.sql for i in side if i.kind == kind))
            if common
            else f"CAST({self.pick(*(i.sql for i in side))} AS VARCHAR)"
            for side in (left, right)
        ]
        if kind == "int" and self.chance(15):
            sides[0] += " + 1"
        return f"{sides[0]} {operator} {sides[1]}"

    def condition(self, scope: Sequence[Item], depth: int) -> str:
        kind = self.pick(*(item.kind for item in scope if item.kind in COMPARED), "int")
        value = self.column(kind, scope)
        shape = self.number(0, 13 if depth else 7)
        match shape:
            case 0:
                return f"{value} {self.operator()} {self.pick(*CONSTANTS[kind])}"
            case 1:
                return f"{value} IS {self.pick('NULL', 'NOT NULL')}"
            case 2:
                values = ", ".join(self.pick(*CONSTANTS[kind]) for _ in range(self.number(1, 3)))
                return f"{value} {self.pick('IN', 'IN', 'NOT IN')} ({values})"
            case 3:
                first, second = self.condition(scope, depth), self.condition(scope, depth)
                return f"({first} {self.pick('OR', 'AND')} {second})"
            case 4:
                return f"NOT ({self.condition(scope, depth)})"
            case 5:
                bounds = sorted(self.pick(*CONSTANTS[kind]) for _ in range(2))
                return f"{value} BETWEEN {bounds[0]} AND {bounds[1]}"
            case 6:
                text = self.column("text", scope)
                return f"{text} {self.pick('LIKE', 'NOT LIKE')} {self.pick(*PATTERNS)}"
            case 7:
                return f"{value} {self.operator()} {self.column(kind, scope)}"
            case 8 | 9:
                inner = self.select(depth - 1, (kind,), scope if self.chance(25) else ())
                return f"{value} {self.pick('IN', 'NOT IN')} ({inner.sql})"
            case 10 | 11:
                inner = self.select(depth - 1, ("int",), scope)
                return f"{self.pick('EXISTS', 'NOT EXISTS')} ({inner.sql})"
            case 12:
                return f"{value} {self.operator()} {self._scalar(kind, scope, depth)}"
            case _:
                inner = self.select(depth - 1, (kind,))
                return f"{value} {self.operator()} {self.pick('ANY', 'ALL')} ({inner.sql})"

    def _scalar(self, kind: str, scope: Sequence[Item], depth: int) -> str:
        """Return an aggregate over a table, correlated or not."""
        source, columns = self.relation(0)
        where = self._where(columns, depth - 1, scope if self.chance(70) else ())
        return f"(SELECT {self.aggregate(kind, columns)} FROM {source}{where})"

    def column(self, kind: str, scope: Sequence[Item]) -> str:
        fitting = [item.sql for item in scope if item.kind == kind]
        return (
            self.pick(*fitting)
            if fitting
            else f"CAST({self.pick(*CONSTANTS[kind])} AS {TYPES[kind]})"
        )

    def value(self, kind: str, scope: Sequence[Item], depth: int) -> str:
        column = self.column(kind, scope)
        if kind == "bool" and self.chance(60):
            return self.condition(scope, depth)
        if not self.chance(40):
            return column
        match self.number(0, 4 if depth else 3):
            case 0:
                return f"coalesce({column}, {self.pick(*CONSTANTS[kind])})"
            case 1:
                other = self.column(kind, scope)
                return f"CASE WHEN {self.condition(scope, depth)} THEN {column} ELSE {other} END"
            case 2:
                return f"nullif({column}, {self.pick(*CONSTANTS[kind])})"
            case 3:
                return self._computed(kind, column, scope)
            case _:
                return self._scalar(kind, scope, depth)

    def _computed(self, kind: str, column: str, scope: Sequence[Item]) -> str:
        match kind:
            case "int":
                choices = [f"{column} + 3", f"-{column}", f"{column} % 3"]
                choices.append(f"list_max([x % 4 + {column} for x in [{column}, 7] if x > 2])")
                return self.pick(*choices, f"length({self.column('text', scope)})")
            case "dec":
                cast = f"CAST({self.column('int', scope)} AS DECIMAL(12,2))"
                return self.pick(f"{column} + {cast}", f"{column} * 2", f"{cast} - 1.25", cast)
            case "dbl":
                return self.pick(f"{column} * 2", f"{column} / 4", f"-{column}", f"{column} + 1.5")
            case "text":
                cast = f"CAST({self.column('int', scope)} AS VARCHAR)"
                return self.pick(f"{column} || '!'", f"upper({column})", cast, f"'x' || {cast}")
            case "date":
                return self.pick(f"{column} + 2", f"{column} - 1")
        return column

    def aggregate(self, kind: str, scope: Sequence[Item]) -> str:
        column = self.column(kind, scope)
        any_ = self.column(self.kind_of(scope), scope)
        distinct = self.pick("", "DISTINCT ")
        match kind:
            case "int":
                text = self.pick(
                    "count(*)",
                    f"count({distinct}{any_})",
                    f"sum({distinct}{column})",
                    f"min({column})",
                    f"max({column})",
                    f"bit_xor({column})" if "CAST" not in column else "count(*)",
                    f"sum(CASE WHEN {self.condition(scope, 0)} THEN 1 ELSE 0 END)",
                )
            case "dec":
                text = self.pick(f"sum({distinct}{column})", f"max({column})", f"min({column})")
            case "dbl":
                text = self.pick(
                    f"sum({column})",
                    f"avg({distinct}{column})",
                    f"avg({self.column('int', scope)})",
                    f"min({column})",
                )
            case "text":
                text = self.pick(
                    f"min({column})",
                    f"max({column})",
                    f"string_agg({column}, ',' ORDER BY {column})",
                )
            case "bool":
                text = self.pick("bool_and", "bool_or") + f"({self.condition(scope, 0)})"
            case _:
                text = self.pick(f"min({column})", f"max({column})")
        if self.chance(15):
            text += f" FILTER (WHERE {self.condition(scope, 0)})"
        return text


PATTERNS = ("'g%'", "'%1'", "'name _'", "'%'")


def statements() -> SearchStrategy[Query]:
    choices = st.binary(min_size=LENGTH, max_size=LENGTH)
    return choices.map(lambda made: Maker(made).statement())


class Setup(NamedTuple):
    """How a statement is planned: some choices that sizes would make otherwise."""

    tasks: int
    small_rows: int = 0
    way: Way | None = None
    few_groups: int = 2_000
    times_smaller: int = 10
    shuffle: Literal["direct", "combined"] = "direct"


SETUPS = (
    Setup(1),
    Setup(2),
    Setup(5),
    Setup(1, 20_000, times_smaller=2),
    Setup(2, 20_000, times_smaller=2),
    Setup(5, 20_000, times_smaller=2),
    Setup(3, way=Way.HASH, few_groups=0),
    Setup(2, way=Way.RANGE, few_groups=0),
    Setup(2, way=Way.REPLICATE_LEFT),
    Setup(3, way=Way.REPLICATE_RIGHT, few_groups=0),
    Setup(4, way=Way.HASH, few_groups=0, shuffle="combined"),
)


def plan_as(patch: pytest.MonkeyPatch, setup: Setup) -> None:
    """Make the planner take the setup's choices."""

    def choose(self: JoinPlacement) -> Choice:
        return min(self.ways(), key=lambda choice: (choice.way is not setup.way, choice.cost))

    if setup.way is not None:
        patch.setattr(JoinPlacement, "choose", choose)
    patch.setattr(distributor, "_TIMES_SMALLER", setup.times_smaller)


def plan_with(world: World, sql: str, setup: Setup) -> StagePlan:
    return world.plan(
        sql,
        setup.tasks,
        small_rows=setup.small_rows,
        few_groups=setup.few_groups,
        shuffle=setup.shuffle,
    )


@given(query=statements(), others=st.lists(st.sampled_from(SETUPS[3:]), min_size=1, max_size=2))
@settings(
    max_examples=EXAMPLES or 80,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.timeout(EXAMPLES * 3 + 300)
def test_same_answer_as_duckdb(world: World, query: Query, others: list[Setup]) -> None:
    note(query.sql)
    try:
        world.oracle.sql(query.sql).fetchall()
    except duckdb.Error as error:
        event(f"DuckDB: {str(error).splitlines()[0]}")
        reject()
    for setup in (*SETUPS[:3], *others):
        note(repr(setup))
        with pytest.MonkeyPatch.context() as patch:
            plan_as(patch, setup)
            plan = plan_with(world, query.sql, setup)
            for stage in plan.stages:
                note(
                    f"-- stage {stage.id}: {stage.tasks} tasks, {stage.outputs}\n{stage.statement}"
                )
                if stage.fallback:
                    event(f"one worker: {stage.fallback}")
            found = world.difference(query.sql, plan, query.order)
        assert found is None, f"{found}\n{query.sql}"
