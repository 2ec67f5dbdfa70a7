"""What goes into a bundle, and what of the dependencies stays out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version

__all__ = ["COORDINATOR", "WORKER", "Contents", "is_needed"]


@dataclass(frozen=True, slots=True)
class Contents:
    """A kind of bundle.

    Attributes
    ----------
    handler
        What the function calls: a module, a dot and a name.
    modules
        What is taken of this package, with all that it imports.
    distributions
        What is taken from the package index, in the versions that are installed here.
    base
        Another kind, all of whose distributions are taken too.
    """

    handler: str
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    base: Contents | None = None

    def requirements(self, python: tuple[int, int]) -> tuple[str, ...]:
        """Return the distributions for a version of Python, pinned to what is installed here."""
        return tuple(sorted(one for group in self.groups(python) for one in group))

    def groups(self, python: tuple[int, int]) -> tuple[tuple[str, ...], ...]:
        """Return the requirements by kind of bundle, so that each is fetched once for all kinds."""
        wanted = set(self.distributions)
        if "obstore" in wanted and python < (3, 13):
            wanted.add("typing_extensions")
        own = tuple(f"{name}=={version(name)}" for name in sorted(wanted))
        return (*self.base.groups(python), own) if self.base is not None else (own,)


WORKER = Contents(
    "starling_py.worker.handler.handle",
    ("starling_py.worker.handler",),
    ("duckdb", "isal", "msgspec", "obstore", "pyarrow"),
)
"""A worker: no parser, no planner, no command line and no boto3."""

COORDINATOR = Contents(
    "starling_py.detached.handler.handle",
    ("starling_py.detached.handler",),
    (
        "boto3",
        "botocore",
        "jmespath",
        "python-dateutil",
        "pytz",
        "s3transfer",
        "six",
        "sqlglot",
        "urllib3",
    ),
    WORKER,
)
"""A coordinator: a planner, and boto3 to call workers. It has no command line."""

_UNNEEDED = tuple(
    re.compile(pattern)
    for pattern in (
        r"(.*/)?__pycache__/.*",
        r".*\.(pyi|pyx|pxd|pxi|h|hpp|c|cc|cpp|cmake|pc|a)",
        r"(.*/)?py\.typed",
        # Licences are to go where the code goes, and packages ask for their version.
        r"[^/]+\.dist-info/(?!METADATA$|licen[cs]es/|LICEN[CS]E|NOTICE).*",
        r"(_duckdb-stubs|adbc_driver_duckdb)/.*",
        r"duckdb/experimental/.*",
        r"obstore/fsspec\.py",
        r"pyarrow/(tests|include|includes|src)/.*",
        # File systems and formats that nothing here opens; pyarrow does without those that miss.
        r"pyarrow/lib(arrow_flight|arrow_python_flight|arrow_s3)\.so.*",
        r"pyarrow/_(flight|orc|dataset_orc|substrait|s3fs|gcsfs|azurefs|hdfs|pyarrow_cpp_tests)\..*",
        r"pyarrow/(flight|orc|substrait|cuda|gandiva|jvm|cffi)\.py",
        # Copies under the names that a linker at build time would look for: the loader asks for
        # the one that ends in a single number.
        r"pyarrow/lib(arrow|parquet)\w*\.so(\.\d+\.\d+\.\d+)?",
        # Of some four hundred services one is called.
        r"botocore/data/(?!lambda/2015-03-31/(service|endpoint))[^/]+/.*",
        r"boto3/(data|examples|dynamodb|ec2)/.*",
    )
)


def is_needed(name: str) -> bool:
    """Return whether a worker needs a file of a wheel, named by its path after installation."""
    return not any(pattern.fullmatch(name) for pattern in _UNNEEDED)
