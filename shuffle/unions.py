"""Unions, of which Arrow writes too much."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["whole_unions"]


def whole_unions(table: pa.Table) -> pa.Table:
    """Return a table with the same rows in which no union is a slice of a longer one.

    Of a slice of a sparse union, Arrow writes as many type codes as the whole has, counted from
    where the slice begins: bytes behind the buffer's end, which are another's and may change.
    """
    if not any(_has_union(kind) for kind in table.schema.types):
        return table
    batches = []
    for batch in table.to_batches():
        order = pa.array(range(batch.num_rows), pa.uint32())
        taken = [pc.take(column, order) for column in batch.columns]
        batches.append(pa.RecordBatch.from_arrays(taken, schema=table.schema))
    return pa.Table.from_batches(batches, schema=table.schema)


def _has_union(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_union(kind.storage_type)
    if pa.types.is_union(kind):
        return True
    if pa.types.is_dictionary(kind):
        return False
    return any(_has_union(kind.field(at).type) for at in range(kind.num_fields))
