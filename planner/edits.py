"""The statement that DuckDB binds: the user's text with tables and variables put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.operators.quoting import identifier
from starling_py.planner.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starling_py.planner.source import Source

__all__ = ["Edited", "edited"]


@dataclass(frozen=True, slots=True)
class Edited:
    """A text made of another one, of which bytes ``start`` to ``end`` became ``new``, in order."""

    text: str
    edits: tuple[tuple[int, int, str], ...]

    def origin(self, position: int) -> int:
        """Return where in the text before the edits a byte of this one comes from."""
        moved = 0
        for start, end, new in self.edits:
            begin = start + moved
            length = len(new.encode())
            if position < begin:
                break
            if position < begin + length:
                return start
            moved += length - (end - start)
        return position - moved


def edited(
    source: Source,
    files: tuple[str, ...],
    hidden: tuple[str, ...],
    hiding: frozenset[str],
    parameters: Mapping[str, str] | None = None,
) -> Edited:
    """Return the text with each ``read_parquet`` call replaced by a table's name.

    Parameters
    ----------
    files
        A table name for each of ``source.files``.
    hidden
        Columns that tables have here but ``*`` must not show.
    hiding
        The names of the tables that have them; calls of read_parquet are the empty name.
    parameters
        What to put in the place of each parameter; by default its number or name.
    """
    edits = []
    for call, name in zip(source.files, files, strict=True):
        alias = "" if call.aliased else " AS read_parquet"
        edits.append((call.start, call.end, identifier(name) + alias))
    for star in source.stars if hidden else ():
        if not star.tables & hiding:
            continue
        if star.end < 0:
            raise Unsupported(
                f"{hidden[0]} beside a qualified * or EXCLUDE",
                hint=f"read_parquet('…', {hidden[0]} = true) makes it a column of its own.",
            )
        columns = ", ".join(map(identifier, hidden))
        edits.append((star.start, star.end, f"* EXCLUDE ({columns})"))
    data = source.text.encode()
    for use in source.parameters:
        if parameters is not None:
            edits.append((use.start, use.end, f" {parameters[use.name]} "))
        elif data[use.start : use.start + 1] == b"?":
            # The next ? must not get this one's number when a call before it is replaced.
            edits.append((use.start, use.end, f" ${use.name} "))
    edits.sort()
    for start, end, new in reversed(edits):
        data = data[:start] + new.encode() + data[end:]
    return Edited(data.decode(), tuple(edits))
