"""``starling tables``: what there is to query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from starling_py.cli.options import connection, data_options
from starling_py.cli.report import count, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.connection import TableInfo

__all__ = ["tables"]


@click.command()
@data_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How the list is shown.",
)
def tables(data: str | None, tables: dict[str, str], format_: str) -> None:
    """List tables with columns, types, rows, files and bytes.

    A table that cannot be read is listed with the reason.
    """
    if data is None and not tables:
        raise click.UsageError("give --data or --table")
    with connection(data, tables) as connected:
        found = connected.tables()
    if not found:
        raise click.UsageError(
            f"the folder {data} holds no tables: no sub-folders and no Parquet files"
        )
    click.echo(_json(found) if format_ == "json" else _text(found))


def _text(found: Sequence[TableInfo]) -> str:
    from starling_py.output import printable

    blocks: list[str] = []
    for table in found:
        name = printable(table.name)
        if table.error is not None:
            blocks.append(f"{name}: error: {table.error.message}\n")
            continue
        facts = (count(table.rows, "row"), count(table.files, "file"), size(table.bytes))
        lines = [f"{name}: {', '.join(facts)}"]
        width = max((len(column.name) for column in table.columns), default=0)
        for column in table.columns:
            source = "" if column.source == "file" else f"  ({column.source} folder)"
            lines.append(f"  {printable(column.name):<{width}}  {column.type}{source}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks).rstrip("\n")


def _json(found: Sequence[TableInfo]) -> str:
    listed = [
        {"name": table.name, "error": table.error.message}
        if table.error is not None
        else {
            "name": table.name,
            "rows": table.rows,
            "files": table.files,
            "bytes": table.bytes,
            "columns": [
                {"name": column.name, "type": column.type, "source": str(column.source)}
                for column in table.columns
            ],
        }
        for table in found
    ]
    import json

    return json.dumps(listed, indent=2, ensure_ascii=False)
