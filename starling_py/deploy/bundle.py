"""A bundle: one zip file with all that a function needs, the same bytes each time."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from starling_py.catalog.errors import UsageError
from starling_py.deploy.bytecode import can_compile, compiled
from starling_py.deploy.contents import WORKER, Contents, is_needed
from starling_py.deploy.errors import BundleTooLarge, DeployError
from starling_py.deploy.modules import needed_modules
from starling_py.deploy.platform import Platform
from starling_py.deploy.wheels import fetch_wheels
from starling_py.worker.payload import RELEASE, VERSION

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Iterator

__all__ = [
    "LIMIT",
    "Bundle",
    "Manifest",
    "build_bundle",
    "check_size",
    "read_bundle",
    "size_table",
]

LIMIT = 250 << 20
"""Bytes that a function's unpacked code may have on AWS Lambda."""

_MANIFEST = "starling-bundle.json"
_WRITTEN = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_UNIX = 3
_LEVEL = 6
_DATA = re.compile(r"[^/]+\.data/(purelib|platlib)/(.+)")
_OTHER_DATA = re.compile(r"[^/]+\.data/.*")


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle is, as it says itself; ``version`` is what a client compares with its own."""

    version: str
    handler: str
    architecture: str
    python: str
    requirements: tuple[str, ...]
    bytecode: bool = False

    @property
    def platform(self) -> Platform:
        """Where it runs."""
        return Platform.parse(self.architecture, self.python)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has been written.

    ``sizes`` are the unpacked bytes of each package, the largest first; ``digest`` is the SHA-256
    of the file, in hexadecimal.
    """

    path: Path
    manifest: Manifest
    digest: str
    files: int
    zipped: int
    sizes: tuple[tuple[str, int], ...]

    @property
    def unzipped(self) -> int:
        """The bytes that AWS Lambda limits."""
        return sum(size for _, size in self.sizes)


def build_bundle(
    path: Path,
    platform: Platform,
    contents: Contents = WORKER,
    *,
    cache: Path | None = None,
    limit: int = LIMIT,
) -> Bundle:
    """Write a bundle for a platform to ``path``, whatever this machine is.

    The file appears when it is complete. Its bytes depend on the sources of this package, the
    versions of the dependencies and zlib, and on whether this interpreter is of the platform's
    version: compiled modules go in then, which are ready sooner.

    Raises
    ------
    UsageError
        If there is no folder for the file.
    WheelsMissing
        If the dependencies cannot be had.
    BundleTooLarge
        If the bundle is too large for a function, with a table of what is in it.
    """
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")
    requirements = contents.requirements(platform.python)
    manifest = Manifest(
        VERSION,
        contents.handler,
        platform.architecture,
        platform.version,
        requirements,
        can_compile(platform),
    )
    modules = needed_modules(contents.modules)
    wheels = sorted(
        (
            wheel
            for group in contents.groups(platform.python)
            for wheel in fetch_wheels(group, platform, cache)
        ),
        key=lambda wheel: wheel.name,
    )
    descriptor, written = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            sizes = _write(file, _members(manifest, modules, wheels))
        check_size(_sums(sizes), limit)
        # mkstemp lets nobody else read.
        Path(written).chmod(0o644)
        Path(written).replace(path)
    except BaseException:
        Path(written).unlink(missing_ok=True)
        raise
    return _described(path, manifest, sizes)


def read_bundle(path: Path) -> Bundle:
    """Return what a bundle holds that was built before.

    Raises
    ------
    DeployError
        If the file is not a bundle of Starling.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = msgspec.json.decode(archive.read(_MANIFEST), type=Manifest)
            entries = [(each.filename, each.file_size) for each in archive.infolist()]
    except (OSError, zipfile.BadZipFile, KeyError, msgspec.MsgspecError) as error:
        raise DeployError(
            f"{path} is not a bundle", hint="make one with `starling lambda build`"
        ) from error
    return _described(path, manifest, entries)


def check_size(sizes: tuple[tuple[str, int], ...], limit: int = LIMIT) -> None:
    """Raise ``BundleTooLarge``, with a table, where packages are larger together than allowed."""
    total = sum(size for _, size in sizes)
    if total > limit:
        raise BundleTooLarge(
            f"the unpacked bundle has {total / (1 << 20):.1f} MiB, and a function may have "
            f"{limit / (1 << 20):.1f}:\n{size_table(sizes)}",
            hint="a container image may have 10 GB: see `starling lambda build --dockerfile`",
        )


def size_table(sizes: tuple[tuple[str, int], ...]) -> str:
    """Return packages and their unpacked sizes as lines of text, with their sum."""
    rows = [*sizes, ("together", sum(size for _, size in sizes))]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {size / (1 << 20):>7.1f} MiB" for name, size in rows)


def _described(path: Path, manifest: Manifest, entries: list[tuple[str, int]]) -> Bundle:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Bundle(path, manifest, digest, len(entries), path.stat().st_size, _sums(entries))


def _sums(entries: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    sums: Counter[str] = Counter()
    for name, size in entries:
        top, _, rest = name.removeprefix("__pycache__/").partition("/")
        # duckdb's library stands beside its package.
        package = top.split(".")[0] if not rest else top
        sums[package.split("-")[0].lstrip("_")] += size
    return tuple(sorted(sums.items(), key=lambda each: (-each[1], each[0])))


def _wheel_files(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the files of a wheel that are needed, by the path where they are installed."""
    for entry in archive.infolist():
        name = entry.filename
        if found := _DATA.fullmatch(name):
            name = found[2]
        elif _OTHER_DATA.fullmatch(name):
            continue
        if not entry.is_dir() and is_needed(name):
            yield name, entry


def _members(
    manifest: Manifest, modules: dict[str, Path], wheels: Iterable[Path]
) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents in an order that does not depend on the file system."""
    sources: dict[str, bytes] = {}
    yield _MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    # `starling_py.__version__` is looked up there.
    metadata = f"Metadata-Version: 2.1\nName: starling-py\nVersion: {RELEASE}\n"
    yield f"starling_py-{RELEASE}.dist-info/METADATA", metadata.encode()
    for name, path in modules.items():
        sources[name] = path.read_bytes()
        yield name, sources[name]
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name, entry in sorted(_wheel_files(archive), key=lambda each: each[0]):
                data = archive.read(entry)
                if name.endswith(".py"):
                    sources[name] = data
                yield name, data
    if manifest.bytecode:
        yield from compiled(sources)


def _write(file: io.BufferedWriter, members: Iterator[tuple[str, bytes]]) -> list[tuple[str, int]]:
    """Write a zip file; return names and sizes."""
    written = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, data in members:
            entry = zipfile.ZipInfo(name, _WRITTEN)
            entry.external_attr = _MODE
            entry.create_system = _UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
            written.append((name, len(data)))
    return written
