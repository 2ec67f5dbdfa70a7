"""Constants of the serialized plan, written as SQL that binds to the same value and type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from starling_py.operators.quoting import identifier, literal
from starling_py.planner.errors import CannotDistribute
from starling_py.planner.expressions import Literal
from starling_py.planner.types import INTEGERS, type_name

__all__ = ["constant"]

_EPOCH = datetime(1970, 1, 1)
_DATE_LIMIT = 2**31 - 1
_TIMESTAMP_LIMIT = 2**63 - 1
_FRACTION = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3, "TIMESTAMP_NS": 9}
"""Decimal digits behind the second."""
_UTC_OFFSET = 16 * 3600 - 1
"""What a TIME WITH TIME ZONE holds in its lower 24 bits at no offset."""


def constant(serialized: Mapping[str, Any]) -> Literal:
    """Return the literal for a serialized value (``type``, ``is_null``, ``value``).

    Raises
    ------
    CannotDistribute
        For types whose serialized form is not known to be exact.
    """
    type_ = type_name(serialized["type"])
    if serialized["is_null"]:
        return Literal("NULL" if type_ == '"NULL"' else f"CAST(NULL AS {type_})", type_)
    return _of_type(type_, serialized["type"], serialized["value"])


def _of_type(type_: str, serialized_type: Mapping[str, Any], value: Any) -> Literal:
    if type_ == "BOOLEAN":
        return Literal("true" if value else "false", type_)
    if type_ == "INTEGER":
        return Literal(str(value) if value >= 0 else f"({value})", type_, value)
    if type_ in INTEGERS:
        return Literal(f"CAST({value} AS {type_})", type_, value)
    if type_ == "VARCHAR":
        return Literal(literal(value), type_, value)
    if serialized_type["id"] == "DECIMAL":
        return _decimal(type_, serialized_type, value)
    match type_:
        case "FLOAT" | "DOUBLE":
            return Literal(f"CAST({_float_text(value)} AS {type_})", type_)
        case "HUGEINT" | "UHUGEINT":
            return Literal(f"CAST('{(value['upper'] << 64) + value['lower']}' AS {type_})", type_)
        case "DATE":
            return Literal(_date_sql(value), type_, value)
        case "TIMESTAMP":
            return Literal(_timestamp_sql(value), type_, value)
        case "TIMESTAMP WITH TIME ZONE":
            text = f"CAST('{_infinity(value)}' AS {type_})"
            text = f"make_timestamptz({value})" if abs(value) < _TIMESTAMP_LIMIT else text
            return Literal(text, type_, value)
        case "TIMESTAMP_S" | "TIMESTAMP_MS" | "TIMESTAMP_NS":
            return Literal(f"CAST('{_moment_text(value, _FRACTION[type_])}' AS {type_})", type_)
        case "TIME":
            return Literal(f"CAST('{_time_text(value, 6)}' AS TIME)", type_)
        case "TIME_NS":
            return Literal(f"CAST('{_time_text(value, 9)}' AS TIME_NS)", type_)
        case "TIME WITH TIME ZONE":
            return Literal(f"CAST('{_zoned_text(value)}' AS {type_})", type_)
        case "JSON":
            return Literal(f"CAST({literal(value)} AS JSON)", type_)
        case "INTERVAL":
            text = f"{value['months']} months {value['days']} days {value['micros']} microseconds"
            return Literal(f"CAST('{text}' AS INTERVAL)", type_)
        case "UUID":
            number = ((value["upper"] ^ (1 << 63)) & (2**64 - 1)) << 64 | value["lower"]
            digits = f"{number:032x}"
            parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
            return Literal(f"CAST('{'-'.join(parts)}' AS UUID)", type_)
        case "BLOB":
            return Literal(f"CAST({literal(value)} AS BLOB)", type_)
    if serialized_type["id"] == "ENUM":
        name = serialized_type["type_info"]["values"][value]
        return Literal(f"CAST({literal(name)} AS {type_})", type_)
    return Literal(_nested_sql(type_, serialized_type, value), type_)


def _nested_sql(type_: str, serialized_type: Mapping[str, Any], value: Any) -> str:
    """Return a list or struct; the parts carry no types of their own, the type has them."""
    info = serialized_type.get("type_info") or {}
    match serialized_type["id"]:
        case "LIST" | "ARRAY":
            parts = [_part(info["child_type"], child) for child in value["children"]]
            return f"CAST([{', '.join(parts)}] AS {type_})"
        case "STRUCT":
            members = zip(info["child_types"], value["children"], strict=True)
            packed = ", ".join(
                f"{identifier(member['first'])} := {_part(member['second'], child)}"
                for member, child in members
            )
            return f"CAST(struct_pack({packed}) AS {type_})"
        case "TUPLE":
            places = zip(info["child_types"], value["children"], strict=True)
            parts = [_part(place["second"], child) for place, child in places]
            return f"CAST(row({', '.join(parts)}) AS {type_})"
        case "MAP":
            key, content = info["child_type"]["type_info"]["child_types"]
            pairs = [child["value"]["children"] for child in value["children"]]
            keys = ", ".join(_part(key["second"], pair[0]) for pair in pairs)
            values = ", ".join(_part(content["second"], pair[1]) for pair in pairs)
            return f"CAST(map([{keys}], [{values}]) AS {type_})"
    raise CannotDistribute(f"constant of type {type_}")


def _part(serialized_type: Mapping[str, Any], child: Mapping[str, Any]) -> str:
    whole = {
        "type": serialized_type,
        "is_null": child["is_null"],
        "value": child.get("value"),
    }
    return constant(whole).sql


def _decimal(type_: str, serialized_type: Mapping[str, Any], value: Any) -> Literal:
    scale = serialized_type["type_info"]["scale"]
    if isinstance(value, Mapping):
        value = (value["upper"] << 64) + value["lower"]
    number = Decimal(value).scaleb(-scale) if abs(value) < 10**27 else None
    digits = f"{abs(value):0{scale + 1}d}"
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return Literal(f"CAST('{'-' if value < 0 else ''}{text}' AS {type_})", type_, number)


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "'nan'"
    if math.isinf(value):
        return "'inf'" if value > 0 else "'-inf'"
    return f"'{value!r}'"


def _infinity(value: int) -> str:
    return "infinity" if value > 0 else "-infinity"


def _date_sql(days: int) -> str:
    if abs(days) >= _DATE_LIMIT:
        return f"CAST('{_infinity(days)}' AS DATE)"
    try:
        return f"CAST('{date(1970, 1, 1) + timedelta(days=days)}' AS DATE)"
    except OverflowError:
        # Before year 1 or beyond 9999.
        return f"(CAST('1970-01-01' AS DATE) + ({days}))"


def _moment_text(value: int, digits: int) -> str:
    """Return a timestamp that counts units of 10 ** -digits seconds since 1970."""
    if abs(value) >= _TIMESTAMP_LIMIT:
        return _infinity(value)
    seconds, fraction = divmod(value, 10**digits)
    try:
        text = str(_EPOCH + timedelta(seconds=seconds))
    except OverflowError:
        raise CannotDistribute("timestamp outside years 1 to 9999") from None
    return f"{text}.{fraction:0{digits}d}" if digits else text


def _time_text(value: int, digits: int) -> str:
    seconds, fraction = divmod(value, 10**digits)
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{fraction:0{digits}d}"


def _zoned_text(value: int) -> str:
    offset = _UTC_OFFSET - (value & 0xFFFFFF)
    minutes, second = divmod(abs(offset), 60)
    zone = f"{'-' if offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
    return _time_text(value >> 24, 6) + zone


def _timestamp_sql(micros: int) -> str:
    if abs(micros) >= _TIMESTAMP_LIMIT:
        return f"CAST('{'' if micros > 0 else '-'}infinity' AS TIMESTAMP)"
    try:
        return f"CAST('{_EPOCH + timedelta(microseconds=micros)}' AS TIMESTAMP)"
    except OverflowError:
        return f"make_timestamp({micros})"
