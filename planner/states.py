"""Exported states of aggregates: which functions have one of bounded size, and as what it travels.

DuckDB's ``EXPORT_STATE`` yields a value of the type AGGREGATE_STATE, which Arrow knows nothing of
(with lossless conversion, some crash the process). So a state is cast to the type that it is stored
in, which is written here and nowhere in DuckDB; a test compares. States that hold every value
(``list``, ``median``, ``quantile_cont`` …) move no less than rows do and are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starling_py.planner.expressions import State

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FUNCTIONS", "WIDE", "exported_state"]

_DEVIATION = "STRUCT(count UBIGINT, mean DOUBLE, dsquared DOUBLE)"
_COVARIANCE = "STRUCT(count UBIGINT, meanx DOUBLE, meany DOUBLE, co_moment DOUBLE)"
_CORRELATION = f"STRUCT(cov_pop {_COVARIANCE}, dev_pop_x {_DEVIATION}, dev_pop_y {_DEVIATION})"
_SLOPE = f"STRUCT(cov_pop {_COVARIANCE}, var_pop {_DEVIATION})"
_SQUARES = f"STRUCT(count UBIGINT, var_pop {_DEVIATION})"
_MEAN = "STRUCT(sum DOUBLE, count UBIGINT)"
_KAHAN_SUM = 'STRUCT("value" DOUBLE, err DOUBLE)'
_DISTINCT = 'STRUCT("precision" UTINYINT, registers UTINYINT[])'

_OF_DOUBLES = {
    **dict.fromkeys(
        ("stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp", "sem"),
        _DEVIATION,
    ),
    **dict.fromkeys(("covar_pop", "covar_samp"), _COVARIANCE),
    "corr": _CORRELATION,
    "regr_avgx": _MEAN,
    "regr_avgy": _MEAN,
    "regr_count": "UBIGINT",
    "regr_intercept": f"STRUCT(count UBIGINT, sum_x DOUBLE, sum_y DOUBLE, slope {_SLOPE})",
    "regr_r2": f"STRUCT(corr {_CORRELATION}, var_pop_x {_DEVIATION}, var_pop_y {_DEVIATION})",
    "regr_slope": _SLOPE,
    "regr_sxx": _SQUARES,
    "regr_syy": _SQUARES,
    "regr_sxy": f"STRUCT(count UBIGINT, cov_pop {_COVARIANCE})",
    "kurtosis": "STRUCT(n UBIGINT, mean DOUBLE, m2 DOUBLE, m3 DOUBLE, m4 DOUBLE)",
    "kurtosis_pop": "STRUCT(n UBIGINT, mean DOUBLE, m2 DOUBLE, m3 DOUBLE, m4 DOUBLE)",
    "skewness": "STRUCT(n UBIGINT, mean DOUBLE, m2 DOUBLE, m3 DOUBLE)",
    **dict.fromkeys(("fsum", "kahan_sum", "sumkahan"), _KAHAN_SUM),
    "favg": 'STRUCT(count UBIGINT, "value" DOUBLE, err DOUBLE)',
}
"""By functions whose arguments are all DOUBLE once bound."""

_AVERAGED_AS_HUGEINT = frozenset(
    ("HUGEINT", "TIME", "TIME WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
)
_NARROW = 4
"""The most digits of a DECIMAL of 16 bits, which is summed in 64."""

_ARGUMENT_AND_KEY = frozenset(
    ("arg_max", "arg_max_null", "arg_min", "arg_min_null", "argmax", "argmin", "max_by", "min_by")
)
_ONE_VALUE = frozenset(("first", "any_value", "arbitrary"))
"""Without ``last`` and ``arg_min_nulls_last``, whose states DuckDB 2.0 merges wrongly."""

_AVERAGES = frozenset(("avg", "mean"))

WIDE = frozenset(("approx_count_distinct",))
"""States of a kilobyte each, which may be more than the rows that they stand for."""

FUNCTIONS = frozenset(_OF_DOUBLES) | _ARGUMENT_AND_KEY | _ONE_VALUE | _AVERAGES | WIDE
"""All functions that have a state here, for arguments of some type."""


def exported_state(function: str, types: Sequence[str]) -> State | None:
    """Return the state of a function of arguments of these bound types, or ``None``."""
    storage = _storage(function, types)
    return None if storage is None else State(function, tuple(types), storage)


def _storage(function: str, types: Sequence[str]) -> str | None:
    if '"NULL"' in types:
        return None
    if function in _OF_DOUBLES and all(type_ == "DOUBLE" for type_ in types):
        return _OF_DOUBLES[function]
    match types:
        case (argument, key) if function in _ARGUMENT_AND_KEY:
            return f'STRUCT(arg {argument}, "by" {key})'
        case (argument,) if function in _ONE_VALUE:
            return f'STRUCT("value" {argument})'
        case (argument,) if function in _AVERAGES:
            return _average(argument)
        case (_,) if function in WIDE:
            return _DISTINCT
    return None


def _average(type_: str) -> str | None:
    # Narrower integers, floats and DECIMALs have a sum and a count in plain SQL.
    if type_ == "INTERVAL":
        return 'STRUCT(count BIGINT, "value" INTERVAL)'
    if type_ in _AVERAGED_AS_HUGEINT or type_.startswith("DECIMAL("):
        narrow = type_.startswith("DECIMAL(") and int(type_[8:].split(",")[0]) <= _NARROW
        return f'STRUCT(count UBIGINT, "value" {"BIGINT" if narrow else "HUGEINT"})'
    return None
