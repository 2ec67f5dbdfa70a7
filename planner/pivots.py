"""PIVOT … ON column, without IN: its columns are the values that are there.

A query for them runs first; DuckDB itself makes several statements of it. The values are those of
the column as text, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from starling_py.operators.quoting import literal
from starling_py.planner.errors import Unsupported
from starling_py.planner.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.tokens import Token

__all__ = ["OpenPivot", "open_pivots", "with_values"]

_WORDS = frozenset(("PIVOT", "PIVOT_WIDER"))
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_BEHIND = frozenset(
    ("USING", "GROUP", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", ";")
)
"""What may follow the expressions behind ON."""


@dataclass(frozen=True, slots=True)
class OpenPivot:
    """An expression behind ON, at bytes ``start`` to ``end``; ``query`` returns its values."""

    start: int
    end: int
    query: str


def open_pivots(text: str) -> tuple[OpenPivot, ...]:
    """Return the expressions of PIVOT that have no IN, in the order of the text.

    Raises
    ------
    Unsupported
        If what is pivoted is a join that is not in parentheses.
    """
    if "PIVOT" not in text.upper() or not _makes_several(text):
        return ()
    tokens = Tokens(text)
    words = _Words(tokens, tokens.rest())
    found = [
        pivot
        for at, token in enumerate(words.tokens)
        if token.word in _WORDS
        for pivot in words.open_at(at)
    ]
    return tuple(sorted(found, key=lambda pivot: pivot.start))


def with_values(text: str, pivots: Sequence[OpenPivot], values: Sequence[Sequence[str]]) -> str:
    """Return the text with the values of each pivot as its IN.

    Raises
    ------
    Unsupported
        If there are none: SQL has no empty IN.
    """
    data, before, pieces = text.encode(), 0, []
    for pivot, found in zip(pivots, values, strict=True):
        given = ", ".join(map(literal, found))
        expression = data[pivot.start : pivot.end].decode()
        if not found:
            raise Unsupported(
                f"PIVOT ON {expression} makes no columns: there are no values",
                hint="PIVOT … ON column IN (values) names the columns.",
            )
        pieces += [data[before : pivot.start].decode(), f"({expression}) IN ({given})"]
        before = pivot.end
    return "".join([*pieces, data[before:].decode()])


def _makes_several(text: str) -> bool:
    """Return whether DuckDB makes several statements of this one."""
    with duckdb.connect() as connection:
        try:
            (statement,) = connection.extract_statements(text)
        except (duckdb.Error, ValueError):
            return False  # planning says what is wrong with it
    return statement.type.name.removesuffix("_STATEMENT") == "MULTI"


class _Words:
    """The tokens of a text, and how deep in brackets each of them is."""

    def __init__(self, source: Tokens, tokens: list[Token]) -> None:
        self.tokens = tokens
        self._source = source
        self._depths = []
        depth = 0
        for token in tokens:
            depth -= token.word in _CLOSING
            self._depths.append(depth)
            depth += token.word in _OPENING

    def open_at(self, pivot: int) -> list[OpenPivot]:
        """Return the expressions without IN of the PIVOT that this token begins."""
        depth = self._depths[pivot]
        first = self._next(pivot + 1, depth, _BEHIND | {"ON", "JOIN"})
        if self._word(first) == "JOIN":
            raise Unsupported(
                "PIVOT of a join is not supported", hint="PIVOT (FROM … JOIN …) ON … is."
            )
        if first == len(self.tokens) or self._word(first) != "ON":
            return []  # another kind of PIVOT, or one that has only GROUP BY
        source = self._text(pivot + 1, first)
        made = []
        start = first + 1
        while start < len(self.tokens):
            end = self._next(start, depth, _BEHIND | {","})
            if end > start and "IN" not in self._words_at(start, end, depth):
                value = f"({self._text(start, end)})"
                query = (
                    f"{self._tables(pivot)}SELECT DISTINCT CAST({value} AS VARCHAR) "
                    f"FROM {source} WHERE {value} IS NOT NULL ORDER BY 1"
                )
                made.append(OpenPivot(self._start(start), self._end(end - 1), query))
            if end == len(self.tokens) or self._word(end) != ",":
                break
            start = end + 1
        return made

    def _next(self, at: int, depth: int, ends: frozenset[str]) -> int:
        """Return where one of these words is at this depth, or where the depth ends."""
        while at < len(self.tokens) and self._depths[at] >= depth:
            if self._depths[at] == depth and self._word(at) in ends:
                break
            at += 1
        return at

    def _words_at(self, start: int, end: int, depth: int) -> set[str]:
        return {self._word(at) for at in range(start, end) if self._depths[at] == depth}

    def _tables(self, pivot: int) -> str:
        """Return the WITH before a PIVOT, which may name what it pivots."""
        depth, first = self._depths[pivot], pivot
        while first and self._depths[first - 1] >= depth:
            first -= 1
        if self._word(first) != "WITH":
            return ""
        end = first
        for at in range(first, pivot):
            # A definition ends with its parenthesis, and another one follows a comma.
            closes = self._word(at) == ")" and self._depths[at] == depth
            if closes and self._word(at + 1) not in (",", "AS"):
                end = at
                break
        return f"{self._text(first, end + 1)} " if end > first else ""

    def _word(self, at: int) -> str:
        return self.tokens[at].word if at < len(self.tokens) else ""

    def _start(self, at: int) -> int:
        return self.tokens[at].start

    def _end(self, at: int) -> int:
        return self.tokens[at].end

    def _text(self, start: int, end: int) -> str:
        return self._source.text(self._start(start), self._end(end - 1))
