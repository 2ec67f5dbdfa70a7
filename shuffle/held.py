"""What a store in memory keeps under a key: bytes, tables, rows, or the number of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.shuffle.objects import ObjectInfo

if TYPE_CHECKING:
    import pyarrow as pa

    from starling_py.shuffle.index import ObjectIndex
    from starling_py.shuffle.rows import Rows

__all__ = ["Held", "HeldBytes", "HeldRows", "HeldTables", "Spilled", "info_of", "tables_of"]


@dataclass(frozen=True, slots=True)
class HeldBytes:
    """An object of bytes, in memory."""

    number: int
    size: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HeldTables:
    """An object of tables, in memory. ``held`` is what its buffers occupy, each counted once."""

    number: int
    size: int
    held: int
    index: ObjectIndex
    tables: tuple[pa.Table, ...]


@dataclass(frozen=True, slots=True)
class Spilled:
    """An object in file ``number``; one of tables has the index that it was put with."""

    number: int
    size: int
    index: ObjectIndex | None = None


@dataclass(frozen=True, slots=True)
class HeldRows:
    """One partition, in memory as far as the share of such objects goes."""

    number: int
    size: int
    held: int
    index: ObjectIndex
    rows: Rows


Held = HeldBytes | HeldTables | HeldRows | Spilled


def tables_of(found: HeldTables | HeldRows) -> tuple[pa.Table, ...]:
    """Return the partitions of an object, as they are kept."""
    return found.tables if isinstance(found, HeldTables) else (found.rows.table(),)


def info_of(key: str, found: Held) -> ObjectInfo:
    """Return what a store tells of an object. Its ETag is its number."""
    return ObjectInfo(key, found.size, f"{found.number:x}")
