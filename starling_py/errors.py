"""Every error that the engine raises on purpose, from the ground floor up.

Catch :class:`StarlingError` for all of them, or the PEP 249 class in brackets::

    StarlingError  (Error)
    ├── UsageError               a bad option, folder or use   (ProgrammingError)
    │   └── Closed               used after its end            (InterfaceError)
    ├── TableError               the files of a table          (DataError)
    │   ├── NoFiles              a path or pattern that matches no file
    │   ├── EmptyTable           a table's folder without Parquet files
    │   ├── IncompleteTable      a table that is being written, or was damaged
    │   ├── AmbiguousTable       two sources of one table name
    │   ├── AccessDenied
    │   ├── UnreadableFile
    │   │   ├── NotParquet
    │   │   ├── TruncatedFile
    │   │   └── EncryptedFile
    │   ├── SchemaMismatch       files of one table that do not agree
    │   └── HiveMismatch         files of one table with different folder keys
    ├── OutputError              an answer cannot be written   (OperationalError)
    ├── SqlError                 the statement                 (ProgrammingError)
    │   ├── SqlSyntaxError       with line, column and caret
    │   ├── UnknownTable         with the nearest name
    │   ├── UnknownColumn        with the candidates
    │   ├── BindError            anything else that DuckDB's binder says
    │   ├── ParameterError       values that do not fit the statement's parameters
    │   ├── TableExists          a new table of a name that is taken
    │   └── Unsupported          refused by name               (NotSupportedError)
    ├── TaskError                the run                       (OperationalError)
    │   ├── TaskFailed           the statement failed on its data (DataError)
    │   ├── WorkerDied
    │   ├── TaskTimedOut
    │   ├── OutOfMemory
    │   ├── FileChanged          a file is not the one that was planned for
    │   ├── BadParquet           a file's pages cannot be read (DataError)
    │   └── Cancelled
    ├── FunctionError            a function on AWS Lambda      (OperationalError)
    │   ├── FunctionMissing      no function of this name in this region
    │   ├── FunctionDenied
    │   ├── FunctionMismatch     of another version than the client, or not Starling's
    │   ├── FunctionBroken       its code cannot be loaded
    │   ├── FunctionTooSmall
    │   ├── FunctionThrottled    too many calls at once, for too long
    │   ├── FunctionUnavailable  no useful answer, however often it was called
    │   └── BadInvocation        a call that no client of its version makes
    ├── DetachedError            a query that runs by itself   (OperationalError)
    │   ├── QueryUnknown         no such query below this scratch
    │   ├── QueryRunning         it has not ended yet
    │   └── CoordinatorLost      its coordinators end, and it gets no further
    ├── DeployError              workers come and go           (OperationalError)
    │   ├── WheelsMissing        no wheels for the function's platform
    │   ├── BundleTooLarge       more than a function may have
    │   ├── DeployDenied
    │   ├── NotDeployed          nothing of this name
    │   ├── StackBusy            somebody else changes the stack
    │   ├── StackFailed          CloudFormation gave up, and why
    │   └── ForeignObjects       a bucket holds what somebody else put there
    ├── StoreError               an object store               (OperationalError)
    │   ├── ObjectMissing
    │   ├── ObjectExists
    │   ├── StoreFull
    │   ├── ObjectChanged        replaced since it was looked at
    │   ├── BucketMissing
    │   ├── VersionedBucket      keeps what is deleted: not for scratch
    │   ├── WrongRegion
    │   ├── StoreDenied
    │   │   ├── CredentialsMissing
    │   │   ├── CredentialsExpired
    │   │   └── ClockSkew        this machine's clock is too wrong
    │   └── StoreUnavailable     no useful answer, however often asked
    └── CorruptObject            a damaged object              (OperationalError)

Each class has a stable ``code``; each error a ``message``, a ``hint`` or ``None``, and an
``origin`` (query, stage, task and attempt).
"""

from __future__ import annotations

from starling_py.catalog.errors import (
    AccessDenied,
    AmbiguousTable,
    Closed,
    EmptyTable,
    EncryptedFile,
    HiveMismatch,
    IncompleteTable,
    NoFiles,
    NotParquet,
    OutputError,
    SchemaMismatch,
    TableError,
    TruncatedFile,
    UnreadableFile,
    UsageError,
)
from starling_py.deploy.errors import (
    BundleTooLarge,
    DeployDenied,
    DeployError,
    ForeignObjects,
    NotDeployed,
    StackBusy,
    StackFailed,
    WheelsMissing,
)
from starling_py.detached.errors import (
    CoordinatorLost,
    DetachedError,
    QueryRunning,
    QueryUnknown,
)
from starling_py.operators.errors import (
    BadParquet,
    Cancelled,
    FileChanged,
    OutOfMemory,
    TaskError,
    TaskFailed,
    TaskTimedOut,
    WorkerDied,
)
from starling_py.planner.errors import (
    BindError,
    ParameterError,
    SqlError,
    SqlSyntaxError,
    TableExists,
    UnknownColumn,
    UnknownTable,
    Unsupported,
)
from starling_py.shuffle.dbapi import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,  # noqa: A004 - PEP 249 gives the name
)
from starling_py.shuffle.errors import (
    BucketMissing,
    ClockSkew,
    CorruptObject,
    CredentialsExpired,
    CredentialsMissing,
    ErrorRecord,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    Origin,
    StarlingError,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
    VersionedBucket,
    WrongRegion,
)
from starling_py.worker.errors import (
    BadInvocation,
    FunctionBroken,
    FunctionDenied,
    FunctionError,
    FunctionMismatch,
    FunctionMissing,
    FunctionThrottled,
    FunctionTooSmall,
    FunctionUnavailable,
)

__all__ = [
    "AccessDenied",
    "AmbiguousTable",
    "BadInvocation",
    "BadParquet",
    "BindError",
    "BucketMissing",
    "BundleTooLarge",
    "Cancelled",
    "ClockSkew",
    "Closed",
    "CoordinatorLost",
    "CorruptObject",
    "CredentialsExpired",
    "CredentialsMissing",
    "DataError",
    "DatabaseError",
    "DeployDenied",
    "DeployError",
    "DetachedError",
    "EmptyTable",
    "EncryptedFile",
    "Error",
    "ErrorRecord",
    "FileChanged",
    "ForeignObjects",
    "FunctionBroken",
    "FunctionDenied",
    "FunctionError",
    "FunctionMismatch",
    "FunctionMissing",
    "FunctionThrottled",
    "FunctionTooSmall",
    "FunctionUnavailable",
    "HiveMismatch",
    "IncompleteTable",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NoFiles",
    "NotDeployed",
    "NotParquet",
    "NotSupportedError",
    "ObjectChanged",
    "ObjectExists",
    "ObjectMissing",
    "OperationalError",
    "Origin",
    "OutOfMemory",
    "OutputError",
    "ParameterError",
    "ProgrammingError",
    "QueryRunning",
    "QueryUnknown",
    "SchemaMismatch",
    "SqlError",
    "SqlSyntaxError",
    "StackBusy",
    "StackFailed",
    "StarlingError",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "TableError",
    "TableExists",
    "TaskError",
    "TaskFailed",
    "TaskTimedOut",
    "TruncatedFile",
    "UnknownColumn",
    "UnknownTable",
    "UnreadableFile",
    "Unsupported",
    "UsageError",
    "VersionedBucket",
    "Warning",
    "WheelsMissing",
    "WorkerDied",
    "WrongRegion",
]
