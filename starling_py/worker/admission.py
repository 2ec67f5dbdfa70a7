"""Which tasks a function accepts: those that touch their own query's objects and listed files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.operators.quoting import decode_path
from starling_py.operators.task import STAGING, FileSink, ScanInput, TaskSpec
from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.keys import check_key
from starling_py.shuffle.locations import S3Location, is_remote, split_url
from starling_py.worker.errors import BadInvocation

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["admit", "check_location"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_location(location: S3Location, allowed: str | None) -> None:
    """Refuse a store that is not below ``allowed``, a URL; without one every store is accepted.

    Raises
    ------
    BadInvocation
        If it is somewhere else.
    """
    if location.prefix:
        _checked(location.prefix)
    if not allowed:
        return
    try:
        bucket, prefix = split_url(allowed)
    except StoreError as error:
        raise BadInvocation("the function's own setting of its scratch is no URL") from error
    below = f"{prefix.strip('/')}/".lstrip("/")
    if location.bucket != bucket or not f"{location.prefix}/".startswith(below):
        raise BadInvocation(
            "the function may not use this scratch",
            hint="name the one that it was deployed with",
        )


def admit(spec: TaskSpec) -> TaskSpec:
    """Return the task without access to files of the function's own machine.

    Raises
    ------
    BadInvocation
        If it names objects of another query, or files that are not on S3, or would write files
        elsewhere than where its query puts those that nobody sees yet.
    """
    if not _NAME.fullmatch(spec.query) or not _NAME.fullmatch(spec.nonce):
        raise BadInvocation("the names of query and attempt are not valid")
    for key in _keys(spec):
        if not _checked(key).startswith(f"{spec.query}/"):
            raise BadInvocation("the task names objects of another query")
    for wanted in spec.inputs:
        if isinstance(wanted, ScanInput) and not all(
            is_remote(decode_path(file.path)) for file in wanted.files
        ):
            raise BadInvocation(
                "the task reads files that are not on S3", hint="a function reads s3:// URLs only"
            )
    if spec.sink is not None:
        _check_sink(spec.sink, spec.query)
    return structs.replace(spec, roots=())


def _check_sink(sink: FileSink, query: str) -> None:
    folder = decode_path(sink.folder)
    if not is_remote(folder):
        raise BadInvocation(
            "the task writes files that are not on S3", hint="a function writes s3:// URLs only"
        )
    if folder.rpartition("/")[2] != f"{STAGING}{query}":
        raise BadInvocation("the task writes where its query may not")
    for text in (sink.stem, sink.extension):
        if "/" in text:
            raise BadInvocation("the names of the task's files are not valid")


def _keys(spec: TaskSpec) -> Iterator[str]:
    yield spec.key
    for wanted in spec.inputs:
        if not isinstance(wanted, ScanInput):
            yield from (run.key for run in wanted.runs)


def _checked(key: str) -> str:
    try:
        return check_key(key)
    except StoreError as error:
        raise BadInvocation("the task names a key that cannot be one") from error
