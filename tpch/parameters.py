"""Substitution parameters: what the specification lets vary in the 22 queries (its clause 2.4).

The texts of ``queries/`` hold the values with which answers are validated. Drawn values come from
the ranges and lists that the specification gives, by a generator of this project's own: they are
not those that another ``qgen`` draws with the same seed.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from starling_py.tpch import words
from starling_py.tpch.texts import text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VALIDATION", "draw", "substituted"]

_FIRST_YEAR, _LAST_YEAR = 1993, 1997

VALIDATION: dict[int, tuple[str, ...]] = {
    1: ("interval 90 day",),
    2: ("p_size = 15", "%BRASS'", "'EUROPE'"),
    3: ("'BUILDING'", "'1995-03-15'"),
    4: ("'1993-07-01'",),
    5: ("'ASIA'", "'1994-01-01'"),
    6: ("'1994-01-01'", "0.06", "l_quantity < 24"),
    7: ("'FRANCE'", "'GERMANY'"),
    8: ("'BRAZIL'", "'AMERICA'", "'ECONOMY ANODIZED STEEL'"),
    9: ("%green%",),
    10: ("'1993-10-01'",),
    11: ("'GERMANY'", "0.0001"),
    12: ("'MAIL', 'SHIP'", "'1994-01-01'"),
    13: ("%special%requests%",),
    14: ("'1995-09-01'",),
    15: ("'1996-01-01'",),
    16: ("'Brand#45'", "'MEDIUM POLISHED%'", "(49, 14, 23, 45, 19, 3, 36, 9)"),
    17: ("'Brand#23'", "'MED BOX'"),
    18: ("> 300",),
    19: (
        "'Brand#12'",
        "'Brand#23'",
        "'Brand#34'",
        "l_quantity >= 1\n",
        "l_quantity <= 1 +",
        "l_quantity >= 10\n",
        "l_quantity <= 10 +",
        "l_quantity >= 20\n",
        "l_quantity <= 20 +",
    ),
    20: ("'forest%'", "'1994-01-01'", "'CANADA'"),
    21: ("'SAUDI ARABIA'",),
    22: ("('13', '31', '23', '29', '30', '18', '17')",),
}
"""The parts of each text that vary, as they stand in it."""


def draw(number: int, seed: int, stream: int = 0, scale: float = 1.0) -> tuple[str, ...]:
    """Return new values for the parts of query ``number`` that vary, in the order of VALIDATION.

    The same arguments give the same values. The power run is stream 0.
    """
    # One generator for each query: its values do not depend on which others are drawn.
    return _DRAWN[number](random.Random(f"{seed}/{stream}/{number}"), scale)  # noqa: S311


def substituted(number: int, values: tuple[str, ...]) -> str:
    """Return the text of query ``number`` with these values.

    Raises
    ------
    ValueError
        There are not as many values as parts that vary.
    """
    by_part = dict(zip(VALIDATION[number], values, strict=True))
    # All at once: a new value may be another's old one.
    parts = "|".join(re.escape(part) for part in sorted(by_part, key=len, reverse=True))
    return re.sub(parts, lambda found: by_part[found[0]], text(number))


_Random = random.Random


def _year(source: _Random) -> str:
    return f"'{source.randint(_FIRST_YEAR, _LAST_YEAR)}-01-01'"


def _month(source: _Random, first: tuple[int, int], last: tuple[int, int]) -> str:
    """Return the first day of a month; both bounds are year and month."""
    low, high = (year * 12 + month - 1 for year, month in (first, last))
    at = source.randint(low, high)
    return f"'{at // 12}-{at % 12 + 1:02d}-01'"


def _brand(source: _Random) -> str:
    return f"'Brand#{source.randint(1, 5)}{source.randint(1, 5)}'"


def _brands(source: _Random) -> tuple[str, str, str]:
    return _brand(source), _brand(source), _brand(source)


def _nation(source: _Random) -> str:
    return f"'{source.choice(list(words.NATIONS))}'"


def _eighth(source: _Random, _: float) -> tuple[str, ...]:
    nation = source.choice(list(words.NATIONS))
    kind = " ".join(source.choice(part) for part in words.TYPES)
    return f"'{nation}'", f"'{words.NATIONS[nation]}'", f"'{kind}'"


def _nineteenth(source: _Random, _: float) -> tuple[str, ...]:
    values: list[str] = list(_brands(source))
    for low, high in ((1, 10), (10, 20), (20, 30)):
        least = source.randint(low, high)
        values += [f"l_quantity >= {least}\n", f"l_quantity <= {least} +"]
    return tuple(values)


def _listed(values: list[int], quote: str = "") -> str:
    return f"({', '.join(f'{quote}{value}{quote}' for value in values)})"


_DRAWN: dict[int, Callable[[_Random, float], tuple[str, ...]]] = {
    1: lambda r, _: (f"interval {r.randint(60, 120)} day",),
    2: lambda r, _: (
        f"p_size = {r.randint(1, 50)}",
        f"%{r.choice(words.TYPES[2])}'",
        f"'{r.choice(words.REGIONS)}'",
    ),
    3: lambda r, _: (f"'{r.choice(words.SEGMENTS)}'", f"'1995-03-{r.randint(1, 31):02d}'"),
    4: lambda r, _: (_month(r, (1993, 1), (1997, 10)),),
    5: lambda r, _: (f"'{r.choice(words.REGIONS)}'", _year(r)),
    6: lambda r, _: (_year(r), f"0.0{r.randint(2, 9)}", f"l_quantity < {r.randint(24, 25)}"),
    7: lambda r, _: tuple(f"'{nation}'" for nation in r.sample(list(words.NATIONS), 2)),
    8: _eighth,
    9: lambda r, _: (f"%{r.choice(words.COLOURS)}%",),
    10: lambda r, _: (_month(r, (1993, 2), (1995, 1)),),
    # As a decimal, never as 1e-05, which would be a floating-point number.
    11: lambda r, scale: (_nation(r), f"{0.0001 / scale:.12f}".rstrip("0")),
    12: lambda r, _: (", ".join(f"'{mode}'" for mode in r.sample(words.MODES, 2)), _year(r)),
    13: lambda r, _: (f"%{r.choice(words.FIRST_WORDS)}%{r.choice(words.SECOND_WORDS)}%",),
    14: lambda r, _: (_month(r, (1993, 1), (1997, 12)),),
    15: lambda r, _: (_month(r, (1993, 1), (1997, 10)),),
    16: lambda r, _: (
        _brand(r),
        f"'{r.choice(words.TYPES[0])} {r.choice(words.TYPES[1])}%'",
        _listed(r.sample(range(1, 51), 8)),
    ),
    17: lambda r, _: (_brand(r), f"'{' '.join(r.choice(part) for part in words.CONTAINERS)}'"),
    18: lambda r, _: (f"> {r.randint(312, 315)}",),
    19: _nineteenth,
    20: lambda r, _: (f"'{r.choice(words.COLOURS)}%'", _year(r), _nation(r)),
    21: lambda r, _: (_nation(r),),
    22: lambda r, _: (_listed(r.sample(range(10, 35), 7), "'"),),
}
