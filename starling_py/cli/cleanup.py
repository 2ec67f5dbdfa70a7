"""``starling cleanup``: remove what killed machines and processes left."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from starling_py.cli.report import count, note, size

__all__ = ["cleanup"]

_BEGAN = "%Y-%m-%d %H:%M UTC"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.command()
@click.option("--scratch", metavar="URL", help="As for query: s3://bucket/prefix.")
@click.option(
    "--data",
    metavar="FOLDER|URL",
    help="The folder or prefix of tables, or the one above the target of a COPY.",
)
@click.option(
    "--older-than",
    default="1d",
    show_default=True,
    metavar="TIME",
    callback=lambda _, __, value: _duration(value),
    help="Leave the objects of queries that began since: 30m, 12h, 2d.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
def cleanup(scratch: str | None, data: str | None, older_than: float, dry_run: bool) -> None:
    """Remove what queries left in a scratch prefix on S3, or where they wrote.

    A query removes its objects when it ends, also when it fails. Only what a machine left that was
    switched off in the middle, or a process that was killed while it wrote, is there for longer. A
    query lasts a day at most.
    """
    if (scratch is None) == (data is None):
        raise click.UsageError("give --scratch or --data")
    if scratch is not None:
        _clean_scratch(scratch, older_than, dry_run)
    elif data is not None:
        _clean_data(data, older_than, dry_run)


def _clean_scratch(scratch: str, older_than: float, dry_run: bool) -> None:
    from starling_py.access import S3Access
    from starling_py.leftovers import leftovers, scratch_location
    from starling_py.shuffle.locations import open_location

    access = S3Access()
    location = scratch_location(scratch, access)
    store = open_location(location, access.source)
    queries = objects = freed = 0
    try:
        for left in leftovers(store, older_than):
            queries += 1
            objects += len(left.keys)
            freed += left.bytes
            began = left.started.strftime(_BEGAN)
            note(
                f"{left.query}, begun {began}: {count(len(left.keys), 'object')}, "
                f"{size(left.bytes)}"
            )
            if not dry_run:
                store.delete(left.keys)
    finally:
        store.close()
    done = "would be removed" if dry_run else "removed"
    click.echo(
        f"{count(objects, 'object')} of {count(queries, 'query', 'queries')}, "
        f"{size(freed)}, {done} from {location}"
    )


def _clean_data(data: str, older_than: float, dry_run: bool) -> None:
    from starling_py.access import S3Access
    from starling_py.writing.leftovers import abandoned
    from starling_py.writing.target import data_folder

    access = S3Access()
    queries = files = 0
    try:
        folder = data_folder(data, access)
        for left in abandoned(folder, older_than):
            queries += 1
            files += len(left.names)
            began = datetime.fromtimestamp(left.started, UTC).strftime(_BEGAN)
            note(f"{left.query}, begun {began}: {count(len(left.names), 'file')}")
            if not dry_run:
                folder.delete(left.names)
                if left.folder:
                    folder.clear(left.folder)
    finally:
        access.close()
    done = "would be removed" if dry_run else "removed"
    click.echo(f"{count(files, 'file')} of {count(queries, 'query', 'queries')} {done} from {data}")


def _duration(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdecimal():
        raise click.BadParameter(f"{text!r} is not of the form 30m, 12h or 2d.")
    return float(int(number) * _UNITS[unit])
