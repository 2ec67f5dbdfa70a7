"""Options of ``read_parquet`` that the catalog understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starling_py.catalog.errors import UsageError
from starling_py.planner.errors import Unsupported

__all__ = ["ReadOptions", "parse"]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files become columns.

    ``hive_partitioning`` of ``None`` means that folder keys count when all files have the same.
    ``filename`` is the name of a column with each file's path, or ``None`` for no such column.
    ``file_row_number`` adds a column of that name, which counts a file's rows from 0.
    """

    hive_partitioning: bool | None = None
    hive_types: Mapping[str, str] | None = None
    hive_types_autocast: bool = True
    filename: str | None = None
    file_row_number: bool = False


def parse(options: Mapping[str, object]) -> ReadOptions:
    """Return the options of a ``read_parquet`` call.

    Raises
    ------
    Unsupported
        For an option that the catalog does not know, by its name.
    UsageError
        For a value of the wrong kind.
    """
    hive: bool | None = None
    types: Mapping[str, str] | None = None
    autocast = True
    filename: str | None = None
    row_number = False
    for given, value in options.items():
        name = given.lower()
        if name == "hive_partitioning":
            hive = _boolean(name, value)
        elif name == "hive_types_autocast":
            autocast = _boolean(name, value)
        elif name == "hive_types":
            types = _types(value)
        elif name == "filename":
            if isinstance(value, str) and value.lower() not in ("true", "false"):
                filename = value
            else:
                filename = "filename" if _boolean(name, value) else None
        elif name == "file_row_number":
            row_number = _boolean(name, value)
        elif name == "union_by_name":
            # Files of one table must have the same columns in any case.
            _boolean(name, value)
        else:
            raise Unsupported(f"the option {given} of read_parquet is not supported")
    if types is not None and hive is None:
        hive = True
    return ReadOptions(hive, types, autocast, filename, row_number)


def _boolean(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise UsageError(f"the option {name} of read_parquet takes true or false")


def _types(value: object) -> Mapping[str, str]:
    if isinstance(value, Mapping):
        return {str(key): str(type_) for key, type_ in value.items()}
    raise UsageError("the option hive_types of read_parquet takes {'key': 'TYPE', …}")
