"""Write TPC-DS tables as Parquet, and the texts of the 99 queries, for the tests.

Runs in a virtual environment of its own (``make tpcds-data``): the extension that knows TPC-DS
exists as a package for DuckDB 1.5.5 only.

Usage: make_data.py SCALE FOLDER
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import duckdb
import duckdb_extension_tpcds

FILES_OF_FACTS = 4
FACTS = frozenset(
    (
        "catalog_returns",
        "catalog_sales",
        "inventory",
        "store_returns",
        "store_sales",
        "web_returns",
        "web_sales",
    )
)
"""Tables that come in several files, so that tasks have something to share."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write TPC-DS data for the tests.")
    parser.add_argument("scale", type=float)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if (asked.folder / "queries").is_dir():
        return
    unfinished = asked.folder.with_name(f".{asked.folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    begun = time.monotonic()
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension()}'")
        connection.execute("CALL dsdgen(sf = ?)", [asked.scale]).fetchall()
        names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        for (name,) in names:
            write(connection, name, unfinished / "tables" / name)
        (unfinished / "queries").mkdir()
        queries = connection.execute("SELECT query_nr, query FROM tpcds_queries()").fetchall()
        for number, text in queries:
            (unfinished / "queries" / f"q{number:02}.sql").write_text(text.strip() + "\n")
    shutil.rmtree(asked.folder, ignore_errors=True)
    unfinished.rename(asked.folder)
    seconds = time.monotonic() - begun
    sys.stderr.write(f"TPC-DS at scale {asked.scale:g} in {asked.folder}, {seconds:.0f} s\n")


def extension() -> Path:
    """Return the file of the extension for the DuckDB at hand."""
    folder = Path(duckdb_extension_tpcds.__file__).parent / "extensions"
    return folder / f"v{duckdb.__version__}" / "tpcds.duckdb_extension"


def write(connection: duckdb.DuckDBPyConnection, name: str, folder: Path) -> None:
    """Write a table, in the order in which it was made."""
    folder.mkdir(parents=True)
    rows = connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
    files = FILES_OF_FACTS if name in FACTS else 1
    each = -(-rows // files)
    for number in range(files):
        connection.execute(
            f"COPY (SELECT * FROM {name} WHERE rowid >= {number * each} "
            f"AND rowid < {(number + 1) * each}) TO '{folder}/part-{number}.parquet' "
            "(FORMAT parquet, ROW_GROUP_SIZE 122880)"
        ).fetchall()


if __name__ == "__main__":
    main()
