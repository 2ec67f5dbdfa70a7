"""A task as data: what a worker is told (`TaskSpec`) and what it answers (`TaskReport`).

A spec can be replayed alone from its JSON: it names its inputs, carries its statement and the
session settings that give the statement its meaning, and the key of its one output object.
SQL values never travel as JSON numbers; paths are percent-encoded (``urllib.parse.quote``).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from starling_py.shuffle.errors import ErrorRecord
from starling_py.shuffle.index import Codec, ObjectIndex, PartitionRun
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.prices import FunctionSize

__all__ = [
    "WRITTEN_COLUMNS",
    "FileRange",
    "FileSink",
    "HashPartitioning",
    "InputColumn",
    "Partitioning",
    "RangePartitioning",
    "SamePartitions",
    "ScanColumn",
    "ScanInput",
    "ScanSource",
    "Setting",
    "ShuffleInput",
    "SinglePartition",
    "SinkColumn",
    "TaskInput",
    "TaskMetrics",
    "TaskReport",
    "TaskSpec",
    "Variables",
]


class ScanSource(StrEnum):
    """Where a scanned column comes from."""

    FIELD = "field"
    """A column of the Parquet files."""
    CONSTANT = "constant"
    """One typed literal per file: hive folders and ``filename``."""
    ROW_NUMBER = "row_number"
    """``file_row_number``."""


class ScanColumn(msgspec.Struct, frozen=True):
    """A column of a scan input, named ``name`` in the statement, of DuckDB type ``type``.

    ``field`` is the column's name inside the files for a FIELD, else unused.
    """

    name: str
    type: str
    source: ScanSource = ScanSource.FIELD
    field: str = ""


class FileRange(msgspec.Struct, frozen=True):
    """Rows ``first_row`` (included) to ``last_row`` (excluded) of a Parquet file of ``rows`` rows.

    ``size`` and ``mtime_ns``, or for a file on S3 ``size`` and ``etag``, are what the planner saw;
    a file that differs is a typed error. The last ``footer`` bytes of a file on S3 are its footer,
    with length and magic. Its path is its percent-encoded URL, ``s3://bucket/key``.
    ``constants`` holds, per CONSTANT column of the scan and in their order, the value as text, or
    ``None`` for NULL; the scan casts it to the column's type.
    """

    path: str
    size: int
    mtime_ns: int
    rows: int
    first_row: int
    last_row: int
    constants: tuple[str | None, ...] = ()
    etag: str = ""
    footer: int = 0

    @property
    def whole(self) -> bool:
        return self.first_row == 0 and self.last_row == self.rows


class ScanInput(msgspec.Struct, frozen=True, tag="scan"):
    """Parquet row ranges, seen by the statement as the relation ``name``.

    An empty ``files`` is an empty relation with these columns. ``condition`` is SQL over the
    columns that a row must pass, or empty.
    """

    name: str
    columns: tuple[ScanColumn, ...]
    files: tuple[FileRange, ...]
    condition: str = ""


class InputColumn(msgspec.Struct, frozen=True):
    """A column that crosses a stage: its name in the statement and its declared DuckDB type."""

    name: str
    type: str


class ShuffleInput(msgspec.Struct, frozen=True, tag="shuffle"):
    """Partitions of earlier stages' outputs, concatenated in the order of ``runs``.

    ``reads`` is how often the statement names the relation: more than once means that it must be
    a table and not a stream. ``condition`` is SQL over the columns that a row must pass, or empty.
    """

    name: str
    columns: tuple[InputColumn, ...]
    runs: tuple[PartitionRun, ...]
    reads: int = 1
    condition: str = ""


TaskInput = ScanInput | ShuffleInput


class SinglePartition(msgspec.Struct, frozen=True, tag="single"):
    """All rows in one partition, in the statement's order."""

    @property
    def count(self) -> int:
        return 1


class HashPartitioning(msgspec.Struct, frozen=True, tag="hash"):
    """``count`` partitions by the hash of ``keys``.

    ``keys`` are SQL expressions over the output's column names, already cast to the type that is
    common to both sides of the exchange. With ``spread_nulls`` a row with a NULL in any key goes
    to any partition (for the preserved side of an outer or anti join, where it matches nothing).
    """

    keys: tuple[str, ...]
    count: int
    spread_nulls: bool = False


class RangePartitioning(msgspec.Struct, frozen=True, tag="range"):
    """``count`` partitions of equal numbers of rows, sorted; the only output of its stage.

    ``order`` is what stands behind ORDER BY, over the output's column names, and ``key`` an
    expression whose bytes are in the same order. Each task sorts for itself; its report tells the
    keys at which its partitions begin.
    """

    key: str
    order: str
    count: int


class SamePartitions(msgspec.Struct, frozen=True, tag="same"):
    """A combiner's output: its only input's rows, by the ``count`` partitions they came in.

    Every run of the input has the same ``count`` partitions. There is no statement.
    """

    count: int


Partitioning = SinglePartition | HashPartitioning | RangePartitioning | SamePartitions


STAGING = ".starling-"
"""How the names of folders begin that tasks write files to; the query's id follows."""


class SinkColumn(msgspec.Struct, frozen=True):
    """A column of written files: its name, its type in the answer, and its type in the files."""

    name: str
    type: str
    stored: str


class FileSink(msgspec.Struct, frozen=True):
    """Files that a task writes its answer to. What it hands on says which files those are.

    ``folder`` is a percent-encoded path that is there already, or the URL of a prefix on S3; its
    last name is :data:`STAGING` and the query. Each attempt writes below a folder of its own in it.
    Names begin with ``stem`` and the number of the task, and end with ``extension``. ``options``
    are those of DuckDB's COPY; with ``several`` they make it write a folder of files.
    """

    folder: str
    stem: str
    extension: str
    format: str
    options: str
    columns: tuple[SinkColumn, ...]
    several: bool = False


WRITTEN_COLUMNS = (
    InputColumn("file", "VARCHAR"),
    InputColumn("rows", "BIGINT"),
    InputColumn("bytes", "BIGINT"),
)
"""What a task with a sink hands on: paths below the sink's folder. The rows of a file are known
for Parquet; else the first file of a task has those of all of them."""


class Setting(msgspec.Struct, frozen=True):
    """A DuckDB session setting that changes what a statement means."""

    name: str
    value: str


class Variables(msgspec.Struct, frozen=True):
    """Session variables that a statement reads with ``getvariable``.

    ``data`` is an Arrow IPC stream of one row in DuckDB's lossless form, with a column for each
    variable; ``columns`` are their names and DuckDB types.
    """

    columns: tuple[InputColumn, ...]
    data: bytes


class TaskSpec(msgspec.Struct, frozen=True):
    """Everything that a worker needs to know.

    ``statement`` is one DuckDB SELECT over the inputs' names whose columns are, in order,
    ``columns``. The output object holds the partitions of each of ``outputs`` one after the other
    (first all of ``outputs[0]``, then all of ``outputs[1]`` …), so that they commit together.
    ``nonce`` differs between attempts, ``key`` does not. ``roots`` are the percent-encoded folders
    that the statement may read. ``memory_limit`` is DuckDB's, in bytes. ``deadline`` is seconds
    since the epoch.

    A ``composed`` statement is the planner's and not the user's: it begins with SELECT and names
    each of its scans once, so that these can stand in front of it as common table expressions.
    With ``keeps_join_order`` DuckDB joins in the order of the text: it has no statistics of what
    comes out of a shuffle, where the planner has estimates.

    ``codec`` compresses the output object. An output of at most ``inline_limit`` bytes travels in
    the report instead of the store. With ``doublewrite`` the attempt that wins writes a second
    copy of its object. An ``answer`` goes to the user, and may be larger than memory.

    With a ``sink`` the statement's columns are those of the sink, ``columns`` are
    ``WRITTEN_COLUMNS``, and there is one output.
    """

    query: str
    stage: int
    task: int
    attempt: int
    nonce: str
    key: str
    statement: str
    columns: tuple[InputColumn, ...]
    inputs: tuple[TaskInput, ...]
    outputs: tuple[Partitioning, ...]
    settings: tuple[Setting, ...]
    roots: tuple[str, ...]
    threads: int
    memory_limit: int
    deadline: float
    composed: bool = False
    keeps_join_order: bool = False
    codec: Codec = "none"
    inline_limit: int = 0
    doublewrite: bool = False
    sink: FileSink | None = None
    variables: Variables | None = None
    answer: bool = False


class TaskMetrics(msgspec.Struct, frozen=True):
    """What an attempt cost. Seconds are wall-clock unless named otherwise.

    ``input_seconds`` find, fetch or hand over the inputs; a scan of local files is part of the
    statement. For ``partition_seconds`` of ``statement_seconds`` rows are cut into partitions.
    ``output_seconds`` commit the output.

    ``called_seconds`` are those of a function, from its call (or its start, for the first one) to
    its answer, and ``function`` is what it was; 0 and none elsewhere.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    input_seconds: float = 0.0
    statement_seconds: float = 0.0
    output_seconds: float = 0.0
    rows_in: int = 0
    rows_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    requests: RequestCounts = RequestCounts()
    peak_rss: int = 0
    called_seconds: float = 0.0
    partition_seconds: float = 0.0
    function: FunctionSize | None = None


class TaskReport(msgspec.Struct, frozen=True):
    """What a worker answers: the index of the committed object, or an error.

    ``index.nonce`` is the winner's, which need not be this attempt's. Where the output is small,
    ``inline`` are the bytes of its partitions, at the offsets that ``index`` tells, and there is
    no object: the first report that the coordinator accepts is then the commit.

    ``bounds`` are, for an output by ranges, the sort key of the first row of each partition that
    has rows, and behind them that of the last row; they are cut to BOUND_BYTES, which keeps their
    order.
    """

    query: str
    stage: int
    task: int
    attempt: int
    worker: str
    metrics: TaskMetrics = TaskMetrics()
    index: ObjectIndex | None = None
    inline: bytes = b""
    error: ErrorRecord | None = None
    bounds: tuple[bytes, ...] = ()
