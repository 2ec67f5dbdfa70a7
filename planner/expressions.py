"""Scalar expressions of the planner: typed, frozen, hashable, and printed as DuckDB's SQL.

They are made from the plan that DuckDB has bound, so every node knows its type, and functions are
already chosen: nothing here resolves or coerces. sqlglot's trees are not used for them: its
generator rewrites functions on the way out, and building and printing one costs more than the
whole rest of planning (see docs/architecture.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.operators.quoting import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "VOLATILE",
    "Aggregate",
    "Call",
    "Case",
    "Cast",
    "Column",
    "Expression",
    "Lambda",
    "Literal",
    "OrderKey",
    "Parameter",
    "State",
    "changed_columns",
    "conjuncts",
    "is_volatile",
    "references",
    "substitute",
]

VOLATILE = frozenset(
    ("random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "error", "sleep_ms", "write_log")
)
"""Functions whose calls are not moved, repeated or left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the input, by its name, which is unique in the plan."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: its SQL, and its value in comparable form where it has one (see tables.py)."""

    sql: str
    type: str
    value: object | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator on arguments. ``style`` says how it is written."""

    name: str
    arguments: tuple[Expression, ...]
    type: str
    style: str = "function"


@dataclass(frozen=True, slots=True)
class Cast:
    """A conversion; with ``lenient``, one that gives NULL instead of an error."""

    argument: Expression
    type: str
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """CASE WHEN condition THEN value … ELSE otherwise END."""

    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression
    type: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a lambda that stands inside ``level - 1`` others."""

    name: str
    type: str
    level: int

    @property
    def sql(self) -> str:
        # The planner's names of columns end in a number, so that they are never one of these.
        return f"{self.name}_of_{self.level}x"


@dataclass(frozen=True, slots=True)
class Lambda:
    """A function of its parameters, and of columns, that is an argument of another one."""

    parameters: tuple[Parameter, ...]
    body: Expression
    type: str = "LAMBDA"


Expression = Column | Literal | Call | Cast | Case | Parameter | Lambda


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One key of an ORDER BY, with nothing left to defaults."""

    expression: Expression
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class State:
    """The state of an aggregate ``function`` of arguments of these ``types``, as it travels.

    ``storage`` is the type in which it does so: AGGREGATE_STATE does not leave a statement.
    """

    function: str
    types: tuple[str, ...]
    storage: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A call of an aggregate function; not a scalar expression, only an operator may hold it.

    With ``exports`` its value is not the result but its state. With ``merges`` it is the aggregate
    of states, which its only argument holds.
    """

    name: str
    arguments: tuple[Expression, ...]
    type: str
    distinct: bool = False
    condition: Expression | None = None
    order: tuple[OrderKey, ...] = ()
    exports: State | None = None
    merges: State | None = None

    def expressions(self) -> Iterator[Expression]:
        """Yield everything in the call that refers to columns."""
        yield from self.arguments
        yield from (key.expression for key in self.order)
        if self.condition is not None:
            yield self.condition

    def mapped(self, change: Callable[[Expression], Expression]) -> Aggregate:
        """Return the call with every expression changed."""
        return replace(
            self,
            arguments=tuple(map(change, self.arguments)),
            condition=None if self.condition is None else change(self.condition),
            order=tuple(replace(key, expression=change(key.expression)) for key in self.order),
        )


def changed_columns(
    columns: tuple[Column, ...], change: Callable[[Expression], Expression]
) -> tuple[Column, ...]:
    """Return columns changed to other columns."""
    changed = tuple(new for old in columns if isinstance(new := change(old), Column))
    if len(changed) != len(columns):
        raise TypeError(columns)
    return changed


def children(expression: Expression) -> Iterator[Expression]:
    """Yield the direct parts of an expression."""
    match expression:
        case Call(arguments=arguments):
            yield from arguments
        case Cast(argument=argument):
            yield argument
        case Case(branches=branches, otherwise=otherwise):
            for condition, value in branches:
                yield condition
                yield value
            yield otherwise
        case Lambda(body=body):
            yield body


def is_volatile(expression: Expression) -> bool:
    """Return whether two evaluations may differ."""
    if isinstance(expression, Call) and expression.name.strip('"') in VOLATILE:
        return True
    return any(is_volatile(child) for child in children(expression))


def references(expression: Expression) -> Iterator[str]:
    """Yield the names of all columns in an expression, with repetitions."""
    if isinstance(expression, Column):
        yield expression.name
    else:
        for child in children(expression):
            yield from references(child)


def rebuild(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """Return the expression with ``change`` applied to each direct part."""
    match expression:
        case Call(arguments=arguments):
            return replace(expression, arguments=tuple(change(a) for a in arguments))
        case Cast(argument=argument):
            return replace(expression, argument=change(argument))
        case Case(branches=branches, otherwise=otherwise):
            return replace(
                expression,
                branches=tuple((change(c), change(v)) for c, v in branches),
                otherwise=change(otherwise),
            )
        case Lambda(body=body):
            return replace(expression, body=change(body))
        case _:
            return expression


def substitute(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """Return the expression with columns replaced by what ``values`` has for their names."""
    if isinstance(expression, Column):
        return values.get(expression.name, expression)
    return rebuild(expression, lambda part: substitute(part, values))


def conjuncts(expression: Expression) -> Iterator[Expression]:
    """Yield the parts of nested ANDs."""
    if isinstance(expression, Call) and expression.name == "AND":
        for argument in expression.arguments:
            yield from conjuncts(argument)
    else:
        yield expression


def sql(expression: Expression) -> str:
    """Return DuckDB's SQL for an expression; safe to put next to any operator."""
    match expression:
        case Column(name=name):
            return identifier(name)
        case Parameter():
            return expression.sql
        case Lambda(parameters=parameters, body=body):
            listed = ", ".join(parameter.sql for parameter in parameters)
            return f"(lambda {listed}: {sql(body)})"
        case Literal(sql=text):
            return text
        case Cast(argument=argument, type=type_, lenient=lenient):
            return f"{'TRY_CAST' if lenient else 'CAST'}({sql(argument)} AS {type_})"
        case Case(branches=branches, otherwise=otherwise):
            arms = " ".join(f"WHEN {sql(c)} THEN {sql(v)}" for c, v in branches)
            return f"CASE {arms} ELSE {sql(otherwise)} END"
        case Call(name=name, arguments=arguments, style=style):
            parts = [sql(argument) for argument in arguments]
            match style:
                case "infix":
                    return "(" + f" {name} ".join(parts) + ")"
                case "prefix":
                    return f"({name} {parts[0]})"
                case "argument":
                    return f"{name} {parts[0]}"
                case "postfix":
                    return f"({parts[0]} {name})"
                case "in":
                    return f"({parts[0]} {name} ({', '.join(parts[1:])}))"
                case "between":
                    return f"({parts[0]} BETWEEN {parts[1]} AND {parts[2]})"
                case _:
                    return f"{name}({', '.join(parts)})"


def order_sql(keys: tuple[OrderKey, ...]) -> str:
    """Return the text behind ORDER BY."""
    return ", ".join(
        f"{sql(key.expression)} {'DESC' if key.descending else 'ASC'}"
        f" NULLS {'FIRST' if key.nulls_first else 'LAST'}"
        for key in keys
    )


def sort_key_sql(keys: tuple[OrderKey, ...]) -> str:
    """Return a call whose bytes are in the order of keys."""
    parts = ", ".join(
        f"{sql(key.expression)}, '{'DESC' if key.descending else 'ASC'}"
        f" NULLS {'FIRST' if key.nulls_first else 'LAST'}'"
        for key in keys
    )
    # Of keys that fit into eight bytes DuckDB makes a number, unless there is a string among them.
    return f"create_sort_key({parts}, '', 'ASC NULLS LAST')"


def aggregate_sql(call: Aggregate) -> str:
    """Return DuckDB's SQL for an aggregate call."""
    text = _call_sql(call)
    if call.exports is not None:
        state = text if call.merges else f"{text} EXPORT_STATE"
        return f"CAST({state} AS {call.exports.storage})"
    return f"finalize({text})" if call.merges else text


def _call_sql(call: Aggregate) -> str:
    inner = ", ".join(sql(argument) for argument in call.arguments)
    if call.merges is not None:
        types = ", ".join(map(literal, call.merges.types))
        state = f"to_aggregate_state({inner}, {literal(call.merges.function)}, [{types}])"
        text = f"combine_aggr({state})"
    elif call.name == "count_star":
        text = "count(*)"
    else:
        text = f"{identifier(call.name)}({'DISTINCT ' if call.distinct else ''}{inner}"
        text += f" ORDER BY {order_sql(call.order)})" if call.order else ")"
    if call.condition is not None:
        text += f" FILTER (WHERE {sql(call.condition)})"
    return text
