"""Error texts without data: what DuckDB says of a value is for the eyes of its owner only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.operators.errors import TaskFailed
from starling_py.operators.task import ScanInput

if TYPE_CHECKING:
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.errors import ErrorRecord

__all__ = ["discreet"]

_LEFT_OUT = "…"
_HINT = "values are left out of errors of functions: the same query on this machine shows them"
_NUMBER = re.compile(r"(?<!\w)[+-]?\d[\w.,:+-]*")
_RAISED = re.compile(r"\berror\s*\(", re.IGNORECASE)
_APOSTROPHE = re.compile(r"\b(can|don|isn|doesn|won)'t\b")
_HELD = "\x00"


def discreet(report: TaskReport, spec: TaskSpec) -> TaskReport:
    """Return the report without values in the text of its error that the statement does not have.

    Quoted texts and numbers are values unless they are in the statement or are names of columns.
    """
    error = report.error
    if error is None or error.code != TaskFailed.code:
        return report
    return structs.replace(report, error=_without_values(error, _known(spec)))


def _without_values(error: ErrorRecord, known: str) -> ErrorRecord:
    text = _APOSTROPHE.sub(lambda found: found[0].replace("'", _HELD), error.message)
    for quote in "'\"":
        text = _without_quoted(text, quote, known)
    kind, colon, rest = text.partition(": ")
    if _RAISED.search(known) and rest not in known:
        # The statement has made the text of the error itself, of what it has read.
        rest = _LEFT_OUT
    rest = _NUMBER.sub(lambda found: found[0] if found[0] in known else _LEFT_OUT, rest)
    message = f"{kind}{colon}{rest}".replace(_HELD, "'")
    if message == error.message:
        return error
    return structs.replace(error, message=message, hint=error.hint or _HINT)


def _without_quoted(text: str, quote: str, known: str) -> str:
    first, last = text.find(quote), text.rfind(quote)
    if first == last:
        return text
    # A value may hold quotes itself: from the first to the last it is one, unless all is known.
    if all(part in known for part in text[first + 1 : last].split(quote)[::2]):
        return text
    return f"{text[: first + 1]}{_LEFT_OUT}{text[last:]}"


def _known(spec: TaskSpec) -> str:
    """Return all that whoever wrote the statement has written, and the names of its columns."""
    parts = [spec.statement]
    for wanted in spec.inputs:
        parts += [f"{column.name} {column.type}" for column in wanted.columns]
        if isinstance(wanted, ScanInput):
            parts += [column.field for column in wanted.columns]
            parts.append(wanted.condition)
    return "\n".join((*parts, *(f"{column.name} {column.type}" for column in spec.columns)))
