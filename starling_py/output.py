"""Answers in files and on standard output: each format as DuckDB itself writes it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from starling_py.catalog.errors import OutputError, UsageError
from starling_py.interruption import told
from starling_py.operators.quoting import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starling_py.results import Result

__all__ = ["STREAMED", "check_target", "markdown", "printable", "save", "stream"]

STREAMED = {
    "csv": "FORMAT csv, HEADER true",
    "json": "FORMAT json, ARRAY true",
    "jsonl": "FORMAT json",
}
"""Formats that standard output takes, as options of DuckDB's COPY."""

_COPIED = {
    ".parquet": "FORMAT parquet",
    ".csv": STREAMED["csv"],
    ".json": STREAMED["json"],
    ".jsonl": STREAMED["jsonl"],
}
_ARROW = ".arrow"


def check_target(path: Path, suffix: str | None = None) -> None:
    """Raise ``UsageError`` unless :func:`save` can write to ``path``: known before a query runs."""
    known = [*_COPIED, _ARROW]
    if (suffix or path.suffix.lower()) not in known:
        raise UsageError(
            f"the name of the output file {path} ends in none of {', '.join(known)}",
        )
    if path.is_dir():
        raise UsageError(f"the output file {path} is a folder")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the output file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to the folder {path.parent}: permission denied")


def save(result: Result, path: Path, suffix: str | None = None) -> None:
    """Write an answer to a file in the format of its suffix. The file is there whole or not at all.

    Parameters
    ----------
    suffix
        Stands for the format, whatever the path ends in.

    Raises
    ------
    UsageError
        For an unknown suffix or a folder that does not exist.
    OutputError
        When the file cannot be written.
    """
    check_target(path, suffix)
    suffix = suffix or path.suffix.lower()
    # Beside the target: a rename is atomic within one file system only.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        if suffix == _ARROW:
            _write_arrow(result, part)
        else:
            _copy(result, part, _COPIED[suffix], path)
        part.replace(path)
    except OSError as error:
        raise OutputError(_why_not(error, part, path)) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def stream(result: Result, format_: str, target: IO[bytes]) -> None:
    """Write an answer to an open binary stream, in one of the formats of ``STREAMED``."""
    with tempfile.TemporaryDirectory(prefix="starling-") as folder:
        path = Path(folder) / "answer"
        _copy(result, path, STREAMED[format_])
        with path.open("rb") as source:
            shutil.copyfileobj(source, target, 1 << 20)


def markdown(result: Result) -> Iterator[str]:
    """Yield the lines of a table in GitHub's Markdown, a line break in a value as ``<br>``."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |\n"

    yield line(_escaped(column.name) for column in result.columns)
    yield line("---" for _ in result.columns)
    for rows in result.texts():
        for row in rows:
            yield line("NULL" if value is None else _escaped(value) for value in row)


def printable(text: str) -> str:
    """Return text in which no character controls the terminal that shows it."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\u200d\u00a0" else c.encode("unicode_escape").decode()
        for c in text
    )


def _escaped(text: str) -> str:
    lines = text.replace("\\", "\\\\").replace("|", "\\|").splitlines() or [""]
    return "<br>".join(printable(line) for line in lines)


def _write_arrow(result: Result, path: Path) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, result.schema) as writer:
        for batch in result.reader():
            writer.write_batch(batch)


def _why_not(error: Exception, path: Path, shown: Path | None) -> str:
    """Return what went wrong with ``path``, which the user knows as ``shown``, if at all."""
    said = str(error)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES):
        # DuckDB and Arrow wrap the system's words into more than a line of their own.
        if os.strerror(number) in said:
            said = os.strerror(number).lower()
            return f"cannot write {shown or f'to the folder {path.parent.parent}'}: {said}"
    said = (said.splitlines() or [type(error).__name__])[0]
    return f"the answer cannot be written: {said.replace(str(path), str(shown or path))}"


def _copy(result: Result, path: Path, options: str, shown: Path | None = None) -> None:
    """Write an answer to ``path``, which an error calls ``shown``."""
    import duckdb

    with result.session() as session:
        statement = f"COPY ({result.select()}) TO {literal(str(path))} ({options})"
        try:
            with told():
                session.execute(statement).fetchall()
        except duckdb.Error as error:
            raise OutputError(_why_not(error, path, shown)) from error
