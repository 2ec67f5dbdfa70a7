"""The texts of the 22 queries, and what a comparison must know of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

__all__ = ["NUMBERS", "Ordering", "numbers", "ordering", "text"]

NUMBERS = range(1, 23)


@dataclass(frozen=True, slots=True)
class Ordering:
    """The ORDER BY and LIMIT at the root of a query.

    ``columns`` are positions in the answer. ``unlimited`` is the query without its LIMIT.
    """

    columns: tuple[int, ...]
    limit: int | None
    unlimited: str


@cache
def text(number: int) -> str:
    """Return the text of query ``number`` (1 to 22)."""
    from importlib.resources import files

    if number not in NUMBERS:
        raise ValueError(f"TPC-H has queries 1 to 22, not {number}")
    resource = files(__package__).joinpath("queries", f"q{number:02d}.sql")
    return resource.read_text(encoding="utf-8")


def numbers(selection: str) -> tuple[int, ...]:
    """Return the query numbers of a selection such as ``1,5-7``, in its order, each once.

    Raises
    ------
    ValueError
        The text is not a selection of queries 1 to 22.
    """
    chosen: dict[int, None] = {}
    for part in selection.split(","):
        match = re.fullmatch(r"\s*(\d{1,2})\s*(?:-\s*(\d{1,2})\s*)?", part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is neither a query number nor a range like 5-7")
        first = int(match[1])
        last = int(match[2] or first)
        if first > last:
            raise ValueError(f"{part.strip()!r} runs backwards")
        for number in range(first, last + 1):
            if number not in NUMBERS:
                raise ValueError(f"TPC-H has queries 1 to 22, not {number}")
            chosen[number] = None
    return tuple(chosen)


def ordering(sql: str, columns: tuple[str, ...]) -> Ordering:
    """Return what the root of ``sql``, whose answer has these columns, orders and limits by.

    Raises
    ------
    ValueError
        It orders by something that is not in the answer, or its LIMIT is not a number.
    """
    # Not for the texts alone, which every `starling --help` loads.
    import sqlglot
    from sqlglot import exp

    root = sqlglot.parse_one(sql, dialect="duckdb")
    lowered = [name.lower() for name in columns]
    positions = []
    order = root.args.get("order")
    for term in order.expressions if order is not None else ():
        key = term.this
        if isinstance(key, exp.Literal) and not key.is_string:
            positions.append(int(key.name) - 1)
        elif isinstance(key, exp.Column) and key.name.lower() in lowered:
            positions.append(lowered.index(key.name.lower()))
        else:
            raise ValueError(f"ORDER BY {key.sql('duckdb')} is not a column of the answer")
    limit = root.args.get("limit")
    if limit is None:
        return Ordering(tuple(positions), None, sql)
    if not isinstance(limit.expression, exp.Literal):
        raise ValueError(f"{limit.sql('duckdb').strip()} is not a number")
    bound = int(limit.expression.name)
    unlimited = root.copy()
    unlimited.set("limit", None)
    return Ordering(tuple(positions), bound, unlimited.sql("duckdb"))
