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
        case "HUGEINT":
            return Literal(f"CAST('{(value['upper'] << 64) + value['lower']}' AS HUGEINT)", type_)
        case "DATE":
            return Literal(f"CAST('{_date_text(value)}' AS DATE)", type_, value)
        case "TIMESTAMP":
            return Literal(_timestamp_sql(value), type_, value)
        case "TIMESTAMP WITH TIME ZONE":
            return Literal(f"make_timestamptz({_finite(value)})", type_, value)
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


def _finite(value: int) -> int:
    if abs(value) >= _TIMESTAMP_LIMIT:
        raise CannotDistribute("infinite timestamp")
    return value


def _date_text(days: int) -> str:
    if abs(days) >= _DATE_LIMIT:
        return "infinity" if days > 0 else "-infinity"
    try:
        return (date(1970, 1, 1) + timedelta(days=days)).isoformat()
    except OverflowError:
        raise CannotDistribute("date outside years 1 to 9999") from None


def _timestamp_sql(micros: int) -> str:
    if abs(micros) >= _TIMESTAMP_LIMIT:
        return f"CAST('{'' if micros > 0 else '-'}infinity' AS TIMESTAMP)"
    try:
        return f"CAST('{_EPOCH + timedelta(microseconds=micros)}' AS TIMESTAMP)"
    except OverflowError:
        return f"make_timestamp({micros})"
