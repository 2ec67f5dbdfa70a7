"""COPY … TO, CREATE TABLE … AS and DROP TABLE: planned, written by tasks, and then made visible."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starling_py.catalog.errors import OutputError, UsageError
from starling_py.operators.task import STAGING, FileSink
from starling_py.planner.errors import TableExists, UnknownTable, Unsupported
from starling_py.planner.writing import written
from starling_py.shuffle.errors import StarlingError
from starling_py.writing.tables import (
    Written,
    create_table,
    drop_table,
    manifest_of,
    new_manifest,
    replace_table,
)
from starling_py.writing.target import Target, data_folder, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starling_py.operators.plan import StagePlan
    from starling_py.operators.task import SinkColumn
    from starling_py.planner.copying import Copy
    from starling_py.planner.statements import CreateTable, DropTable
    from starling_py.run_results import RunResult
    from starling_py.session import Session
    from starling_py.writing.folder import Folder, Moves

__all__ = ["Outcome", "copy_plan", "copy_to", "create_as", "drop", "table_plan"]

_LONGEST = 200
_FORBIDDEN = re.compile(r"[/\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement has written: its plan, what ran, the rows, and the files by name."""

    plan: StagePlan
    ran: RunResult
    rows: int
    files: tuple[str, ...]


def copy_plan(session: Session, sql: str, copy: Copy) -> StagePlan:
    """Return the plan of a COPY."""
    return _copy_plan(session, sql, copy, target_of(copy.target, session.access))


def _copy_plan(session: Session, sql: str, copy: Copy, target: Target) -> StagePlan:
    _check_reach(session, target.folder)
    extension, format_ = copy.extension, copy.format
    plan = session.planning.plan(sql, copy.query)
    sink = FileSink(
        folder=target.folder.told(_staging(plan)),
        stem=_stem(plan),
        extension=extension,
        format=format_,
        options=copy.options.passed,
        columns=session.planning.copied(plan.result, copy),
        several=copy.options.writes_folder,
    )
    return written(plan, sink, one_file=copy.single_file, root=_root(target.folder, plan))


def copy_to(session: Session, sql: str, copy: Copy) -> Outcome:
    """Run a COPY."""
    target = target_of(copy.target, session.access)
    folder, name = target.folder, target.name
    plan = _copy_plan(session, sql, copy, target)
    _check_free(target, copy)
    with _staged(folder, plan) as staging:
        ran = session.ran(plan)
        files = _files(ran)
        rows = sum(file.rows for file in files)
        if copy.single_file:
            folder.move([(f"{staging}/{files[0].file}", name)])
            return Outcome(plan, ran, rows, (target.shown,))
        files = files if copy.options.writes_folder else _with_rows(files)
        if copy.options.has("APPEND"):
            folder.move([(f"{staging}/{file.file}", f"{name}/{file.inner}") for file in files])
        else:
            overwrite = copy.options.has("OVERWRITE")
            try:
                folder.publish(_moves(staging, files), name, staging, replace=overwrite)
            except FileExistsError:
                raise _not_empty(target, "the folder was filled while this query ran") from None
    return Outcome(plan, ran, rows, tuple(folder.shown(f"{name}/{file.inner}") for file in files))


def _check_free(target: Target, copy: Copy) -> None:
    """Raise the error for a target that is in the way; it may still come there while we write."""
    folder, name = target.folder, target.name
    folder.check()
    if copy.single_file:
        if folder.is_folder(name):
            raise OutputError(f"cannot write {target.shown}: it is a folder")
        return
    if folder.is_file(name):
        raise OutputError(f"cannot write to {target.shown}: it is a file")
    if manifest_of(folder, name) is not None:
        raise Unsupported(
            f"{target.shown} is a table that CREATE TABLE made",
            hint="CREATE OR REPLACE TABLE … AS SELECT … writes it anew.",
        )
    if not (copy.options.has("APPEND") or copy.options.has("OVERWRITE")) and folder.names(name):
        raise _not_empty(target, "the folder is not empty")


def _not_empty(target: Target, why: str) -> OutputError:
    return OutputError(
        f"cannot write to {target.shown}: {why}",
        hint="The option OVERWRITE replaces what is there, APPEND adds to it.",
    )


def table_plan(session: Session, sql: str, create: CreateTable) -> StagePlan:
    """Return the plan of a CREATE TABLE."""
    folder = data_folder(session.catalog.folder, session.access)
    return _table_plan(session, sql, create, folder)


def _table_plan(session: Session, sql: str, create: CreateTable, folder: Folder) -> StagePlan:
    _check_reach(session, folder)
    query = create.query
    if not create.rows:
        query = replace(query, text=f"FROM ({query.text}\n) LIMIT 0", offset=None)
    plan = session.planning.plan(sql, query)
    sink = FileSink(
        folder=folder.told(_staging(plan)),
        stem=_stem(plan),
        extension=".parquet",
        format="parquet",
        options="",
        columns=session.planning.table_columns(plan.result, create.columns),
    )
    return written(plan, sink, one_file=False, root=_root(folder, plan))


def create_as(session: Session, sql: str, create: CreateTable) -> Outcome | None:
    """Run a CREATE TABLE; return ``None`` if the table is there and may be."""
    name = create.name
    folder = data_folder(session.catalog.folder, session.access)
    _check_name(name)
    old = None
    known = session.planning.table_name(name)
    if known is not None:
        name = known
        if create.if_not_exists:
            return None
        if not create.replace:
            raise TableExists(
                f"the table {name} exists", hint="CREATE OR REPLACE TABLE writes it anew."
            )
        old = manifest_of(folder, name)
        if old is None:
            raise _not_ours("replace", name)
    folder.check()
    plan = _table_plan(session, sql, create, folder)
    with _staged(folder, plan) as staging:
        ran = session.ran(plan)
        files = _with_rows(_files(ran))
        manifest = new_manifest(plan.query, _columns(plan), files)
        if old is None:
            create_table(folder, staging, name, manifest, _moves(staging, files))
        else:
            replace_table(folder, name, old, manifest, _moves(staging, files))
    listed = tuple(folder.shown(f"{name}/{file.inner}") for file in files)
    return Outcome(plan, ran, sum(file.rows for file in files), listed)


def drop(session: Session, statement: DropTable) -> None:
    """Remove a table that CREATE TABLE … AS has made."""
    from starling_py.runs import new_id

    name = session.planning.table_name(statement.name)
    if name is None:
        if statement.if_exists:
            return
        raise UnknownTable(f"Table with name {statement.name} does not exist!")
    folder = data_folder(session.catalog.folder, session.access)
    manifest = None if _FORBIDDEN.search(name) else manifest_of(folder, name)
    if manifest is None:
        raise _not_ours("drop", name)
    drop_table(folder, name, f"{STAGING}{new_id()}", manifest)


def _check_reach(session: Session, folder: Folder) -> None:
    if folder.root and session.config.target != "local":
        raise UsageError(
            "functions cannot write to this machine", hint="Name a target on S3: s3://bucket/prefix"
        )


def _not_ours(verb: str, name: str) -> Unsupported:
    return Unsupported(
        f"cannot {verb} the table {name}: CREATE TABLE … AS has not made it",
        hint="Files that Starling has not written are never removed.",
    )


def _check_name(name: str) -> None:
    """Refuse what cannot be a folder that the catalog finds again under this very name."""
    ending = name.lower().endswith((".parquet", ".parq", ".pq"))
    if not name or name.startswith((".", "_")) or _FORBIDDEN.search(name) or ending:
        raise Unsupported(
            f"a new table cannot be called {name!r}: its name is that of its folder",
            hint="It begins with a letter or digit, has no slash, and does not end in .parquet.",
        )
    if len(name.encode()) > _LONGEST:
        raise Unsupported(f"the name of a new table has at most {_LONGEST} bytes")


def _staging(plan: StagePlan) -> str:
    return f"{STAGING}{plan.query}"


def _stem(plan: StagePlan) -> str:
    return f"part-{plan.query}"


def _root(folder: Folder, plan: StagePlan) -> str:
    """Return what tasks must be allowed to write to, or nothing where they are anyway."""
    inside = any(f"{folder.root}/".startswith(f"{root}/") for root in plan.roots)
    return folder.told(_staging(plan)) if folder.root and not inside else ""


def _columns(plan: StagePlan) -> tuple[SinkColumn, ...]:
    sink = plan.stages[-1].sink
    return () if sink is None else sink.columns


def _files(ran: RunResult) -> list[Written]:
    return [Written(*row.values()) for row in ran.table.to_pylist()]


def _with_rows(files: Sequence[Written]) -> list[Written]:
    """Return the files with rows; one without, for its columns, where no file has any."""
    return [file for file in files if file.rows] or list(files[:1])


def _moves(staging: str, files: Sequence[Written]) -> Moves:
    return [(f"{staging}/{file.file}", file.inner) for file in files]


@contextmanager
def _staged(folder: Folder, plan: StagePlan) -> Iterator[str]:
    """Yield a folder for what is not to be seen; afterwards, whatever happens, it is gone."""
    staging = _staging(plan)
    folder.begin(staging)
    try:
        yield staging
    finally:
        try:
            folder.clear(staging)
        except StarlingError:
            # The answer, or the reason why there is none, matters more.
            shown = folder.shown(staging)
            logging.getLogger(__name__).warning("%s was not removed", shown, exc_info=True)
