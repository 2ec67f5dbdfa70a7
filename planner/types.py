"""DuckDB's types: their spelling in SQL, and what the planner asks of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from starling_py.operators.quoting import identifier, literal
from starling_py.planner.errors import CannotDistribute

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["INTEGERS", "estimated_width", "is_hashable", "type_name", "unquoted"]

INTEGERS = frozenset(
    (
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
    )
)

_QUOTED = re.compile(r'"([A-Za-z_][A-Za-z0-9_]*)"')

_PLAIN = INTEGERS | frozenset(
    (
        "BOOLEAN",
        "HUGEINT",
        "UHUGEINT",
        "FLOAT",
        "DOUBLE",
        "VARCHAR",
        "BLOB",
        "BIT",
        "UUID",
        "DATE",
        "TIME",
        "TIME_NS",
        "TIME WITH TIME ZONE",
        "TIMESTAMP",
        "TIMESTAMP_S",
        "TIMESTAMP_MS",
        "TIMESTAMP_NS",
        "TIMESTAMP WITH TIME ZONE",
        "INTERVAL",
    )
)

_WIDTHS = {
    "BOOLEAN": 1,
    "TINYINT": 1,
    "UTINYINT": 1,
    "SMALLINT": 2,
    "USMALLINT": 2,
    "INTEGER": 4,
    "UINTEGER": 4,
    "FLOAT": 4,
    "DATE": 4,
    "HUGEINT": 16,
    "UHUGEINT": 16,
    "UUID": 16,
    "INTERVAL": 16,
    "VARCHAR": 16,
    "BLOB": 16,
}


def type_name(serialized: Mapping[str, Any]) -> str:
    """Return DuckDB's spelling of a type of the serialized plan.

    Raises
    ------
    CannotDistribute
        For types whose meaning the spelling would not carry (collations, user-defined names).
    """
    name = serialized["id"]
    info = serialized.get("type_info")
    if not info:
        if name in _PLAIN:
            return str(name)
        if name == "SQLNULL" or name == '"NULL"' or name == "NULL":
            return '"NULL"'
        raise CannotDistribute(f"type {name}")
    alias = info.get("alias")
    if alias:
        if alias == "JSON" and name == "VARCHAR":
            return "JSON"
        raise CannotDistribute(f"type {alias}")
    if info.get("extension_info"):
        raise CannotDistribute(f"type {name} of an extension")
    match name:
        case "DECIMAL":
            return f"DECIMAL({info['width']},{info['scale']})"
        case "LIST":
            return type_name(info["child_type"]) + "[]"
        case "ARRAY":
            return f"{type_name(info['child_type'])}[{info['size']}]"
        case "STRUCT":
            members = info["child_types"]
            if not members or any(not member["first"] for member in members):
                raise CannotDistribute("unnamed struct")
            inner = ", ".join(f"{identifier(m['first'])} {type_name(m['second'])}" for m in members)
            return f"STRUCT({inner})"
        case "MAP":
            key, value = info["child_type"]["type_info"]["child_types"]
            return f"MAP({type_name(key['second'])}, {type_name(value['second'])})"
        case "TUPLE":
            inner = ", ".join(type_name(member["second"]) for member in info["child_types"])
            return f"TUPLE({inner})"
        case "ENUM":
            return f"ENUM({', '.join(literal(value) for value in info['values'])})"
    raise CannotDistribute(f"type {name} with {info.get('type', 'modifiers')}")


def unquoted(type_: str) -> str:
    """Return a type without the quotes that its member names do not need, for comparisons."""
    return _QUOTED.sub(r"\1", type_)


def is_nested(type_: str) -> bool:
    return type_.endswith("]") or type_.startswith(("STRUCT", "MAP", "UNION", "TUPLE"))


def is_hashable(type_: str) -> bool:
    """Return whether rows can be partitioned by a key of this type.

    Nested types hold floats whose equal values hash differently; intervals that compare equal
    (30 days and one month) are kept out too.
    """
    return not is_nested(type_) and type_ not in ("INTERVAL", "JSON", "TIME WITH TIME ZONE", "BIT")


def estimated_width(type_: str) -> int:
    """Return a guess at the bytes of one value in memory."""
    if is_nested(type_):
        return 32
    if type_.startswith("DECIMAL"):
        return 16 if int(type_[8:].split(",")[0]) > 18 else 8
    if type_.startswith("ENUM"):
        return 2
    return _WIDTHS.get(type_, 8)
