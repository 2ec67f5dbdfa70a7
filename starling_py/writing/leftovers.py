"""What statements left that were killed while they wrote."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.catalog.manifest import MANIFEST
from starling_py.leftovers import is_query_id, query_started
from starling_py.operators.task import STAGING
from starling_py.writing.tables import manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starling_py.writing.folder import Folder

__all__ = ["Abandoned", "abandoned"]


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Files of a query that nobody sees. ``folder`` goes as a whole, if there is one."""

    query: str
    started: float
    names: tuple[str, ...]
    folder: str = ""


def abandoned(folder: Folder, older_than: float) -> Iterator[Abandoned]:
    """Yield what queries left that began more than ``older_than`` seconds ago.

    That are the folders in which their tasks wrote, tables that never became complete, and files
    that a table's manifest does not name although a query wrote them for it.
    """
    latest = time.time() - older_than
    for name in folder.folders():
        query = name.removeprefix(STAGING)
        if name.startswith(STAGING) and is_query_id(query) and query_started(query) < latest:
            yield Abandoned(query, query_started(query), tuple(folder.names(name)), name)
    for name in folder.folders():
        if not name.startswith((".", "_")):
            yield from _of_table(folder, name, latest)


def _of_table(folder: Folder, name: str, latest: float) -> Iterator[Abandoned]:
    manifest = manifest_of(folder, name)
    if manifest is None:
        return
    found = set(folder.names(name))
    listed = {f"{name}/{file.name}" for file in manifest.files}
    if not listed <= found and query_started(manifest.query) < latest:
        names = tuple(sorted((found & listed) | {f"{name}/{MANIFEST}"}))
        yield Abandoned(manifest.query, query_started(manifest.query), names)
    others: dict[str, list[str]] = {}
    for other in sorted(found - listed):
        word, _, rest = other.removeprefix(f"{name}/").partition("-")
        query = rest.partition("-")[0]
        if word == "part" and is_query_id(query) and query_started(query) < latest:
            others.setdefault(query, []).append(other)
    for query, unnamed in others.items():
        yield Abandoned(query, query_started(query), tuple(unnamed))
