"""``COPY query TO target (options)``: what the engine decides, and what it leaves to DuckDB."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.planner.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.planner.parameters import Parameters
    from starling_py.planner.tokens import Token, Tokens

__all__ = ["Copy", "CopyOption", "CopyOptions", "Query", "copy_options"]

_KNOWN_SUFFIX = re.compile(
    r"\.(parquet|parq|pq|csv|tsv|json|jsonl|ndjson)(\.(?:gz|gzip|zst))?$", re.IGNORECASE
)
_SUFFIX_FORMATS = {
    "parquet": "parquet",
    "parq": "parquet",
    "pq": "parquet",
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
}
_OWN = frozenset(
    (
        *("APPEND", "FILE_EXTENSION", "FORMAT", "OVERWRITE", "PER_THREAD_OUTPUT", "RETURN_FILES"),
        *("USE_TMP_FILE",),
    )
)
"""Options that are not for the DuckDB of a task."""
_FOLDERS = frozenset(("FILE_SIZE_BYTES", "PARTITION_BY", "ROW_GROUPS_PER_FILE"))
"""Options with which a task writes a folder of files."""
_REFUSED = {
    "ENCRYPTION_CONFIG": "files are not encrypted",
    "FILENAME_PATTERN": "files are named by query and task",
    "HIVE_FILE_PATTERN": "folders are called key=value",
    "OVERWRITE_OR_IGNORE": "OVERWRITE replaces what is there, APPEND adds to it",
    "RETURN_STATS": "RETURN_FILES returns the names of the files",
    "WRITE_EMPTY_FILE": "an answer without rows is one file without rows",
}
_FALSE = frozenset(("FALSE", "0", "OFF", "NO"))


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT, VALUES, FROM, WITH … or SUMMARIZE: rows in, rows out.

    ``offset`` is the byte of the user's text where it begins, or ``None`` where it is none of it.
    ``parameters`` are the values of its parameters. With ``integer_division`` 7 / 2 is 3 in it.
    """

    text: str
    offset: int | None = 0
    integer_division: bool = False
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True)
class CopyOption:
    """An option: its name in capitals and its value as text, which may be empty."""

    name: str
    value: str

    @property
    def on(self) -> bool:
        """Whether an option that is on or off is on."""
        return self.value.strip("'").upper() not in _FALSE

    @property
    def sql(self) -> str:
        return f"{self.name} {self.value}".strip()


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """The options of a COPY, in their order."""

    given: tuple[CopyOption, ...] = ()

    def has(self, name: str) -> bool:
        """Return whether an option is given and on."""
        return any(option.name == name and option.on for option in self.given)

    def value(self, name: str) -> str:
        """Return the text of an option's value without quotes, or nothing."""
        found = [option.value for option in self.given if option.name == name]
        return found[-1].strip("'\"") if found else ""

    @property
    def passed(self) -> str:
        """What a task's DuckDB is told, but for the format."""
        return ", ".join(option.sql for option in self.given if option.name not in _OWN)

    @property
    def writes_folder(self) -> bool:
        """Whether every task writes several files."""
        return any(option.name in _FOLDERS for option in self.given)


@dataclass(frozen=True, slots=True)
class Copy:
    """A COPY. ``query`` is a SELECT, ``target`` a path here or the URL of one on S3."""

    query: Query
    target: str
    options: CopyOptions

    @property
    def single_file(self) -> bool:
        """Whether there will be one file of the target's name, and not a folder of files."""
        options = self.options
        several = options.writes_folder or any(
            options.has(name) for name in ("APPEND", "OVERWRITE", "PER_THREAD_OUTPUT")
        )
        return not several and _KNOWN_SUFFIX.search(self.target) is not None

    @property
    def format(self) -> str:
        """``parquet``, ``csv`` or ``json``.

        Raises
        ------
        Unsupported
            If it is another one, or if nothing tells.
        """
        found = self.options.value("FORMAT").lower()
        suffix = _KNOWN_SUFFIX.search(self.target)
        if not found and suffix:
            found = _SUFFIX_FORMATS[suffix[1].lower()]
        if found in ("parquet", "csv", "json"):
            return found
        hint = "FORMAT is parquet, csv or json."
        if not found:
            raise Unsupported(f"COPY TO '{self.target}' needs a FORMAT", hint=hint)
        raise Unsupported(f"COPY with FORMAT {found} is not supported", hint=hint)

    @property
    def extension(self) -> str:
        """How the names of files end, with a dot."""
        given = self.options.value("FILE_EXTENSION")
        if given:
            return f".{given.lstrip('.')}"
        suffix = _KNOWN_SUFFIX.search(self.target)
        if self.single_file and suffix:
            return suffix[0]
        compressed = {"gzip": ".gz", "zstd": ".zst"}.get(self.options.value("COMPRESSION").lower())
        return f".{self.format}{compressed or ''}" if self.format != "parquet" else ".parquet"


def copy_options(tokens: Tokens) -> tuple[CopyOption, ...]:
    """Read the options in parentheses, up to the end of the statement.

    Raises
    ------
    Unsupported
        For an option that the engine does not have, or options without parentheses.
    """
    if tokens.peek() != "(":
        raise Unsupported(
            f"COPY … {tokens.peek()} is not supported", hint="Options stand in parentheses."
        )
    inside = tokens.group()
    if tokens.peek():
        raise Unsupported(f"{tokens.peek()} behind the options of COPY is not supported")
    return tuple(_option(tokens, part) for part in _at_commas(inside))


def _at_commas(tokens: Sequence[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += token.text in ("(", "[", "{")
        depth -= token.text in (")", "]", "}")
        if token.text == "," and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _option(tokens: Tokens, part: Sequence[Token]) -> CopyOption:
    name = part[0].text.strip('"').upper()
    value = tokens.text(part[1].start, part[-1].end) if len(part) > 1 else ""
    if name in _REFUSED:
        raise Unsupported(f"the option {name} of COPY is not supported", hint=_REFUSED[name])
    return CopyOption(name, value)
