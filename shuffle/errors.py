"""The root of the error tree, and the errors of the ground floor.

::

    StarlingError
    ├── StoreError               an object store could not do what was asked
    │   ├── ObjectMissing
    │   ├── ObjectExists         a put-if-absent that came second
    │   ├── StoreFull
    │   ├── ObjectChanged        an object is not the one that was looked at before
    │   ├── BucketMissing
    │   ├── VersionedBucket      a bucket that keeps what is deleted
    │   ├── WrongRegion
    │   ├── StoreDenied
    │   │   ├── CredentialsMissing
    │   │   ├── CredentialsExpired
    │   │   └── ClockSkew        this machine's clock is too wrong to sign a request
    │   └── StoreUnavailable     no useful answer, however often it was asked
    ├── CorruptObject            bytes that are not what their producer wrote
    └── (upper floors derive their own; ``starling_py.errors`` shows the whole tree)

Every class carries a stable ``code``. An error crosses a process boundary as an
:class:`ErrorRecord`, never as a pickled exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from starling_py.shuffle.dbapi import Error, OperationalError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BucketMissing",
    "ClockSkew",
    "CorruptObject",
    "CredentialsExpired",
    "CredentialsMissing",
    "ErrorRecord",
    "ObjectChanged",
    "ObjectExists",
    "ObjectMissing",
    "Origin",
    "StarlingError",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "VersionedBucket",
    "WrongRegion",
]


class Origin(msgspec.Struct, frozen=True):
    """Where in a query an error arose; each part is ``None`` where it does not apply."""

    query: str | None = None
    stage: int | None = None
    task: int | None = None
    attempt: int | None = None

    def __str__(self) -> str:
        named = (
            ("query", self.query),
            ("stage", self.stage),
            ("task", self.task),
            ("attempt", self.attempt),
        )
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


class ErrorRecord(msgspec.Struct, frozen=True):
    """An error on the wire."""

    code: str
    message: str
    hint: str | None = None
    origin: Origin = Origin()


class StarlingError(Error):
    """Base of everything that the engine raises on purpose.

    Parameters
    ----------
    message
        One or more lines for the user, without a trailing newline.
    hint
        What the user may do about it.
    origin
        The query, stage, task and attempt in which it arose.
    """

    code: ClassVar[str] = "STARLING"

    def __init__(
        self, message: str, *, hint: str | None = None, origin: Origin | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.origin = origin or Origin()

    def __str__(self) -> str:
        where = str(self.origin)
        return f"{self.message} ({where})" if where else self.message

    def record(self) -> ErrorRecord:
        """Return the error as it crosses a process boundary."""
        return ErrorRecord(self.code, self.message, self.hint, self.origin)

    @classmethod
    def from_record(cls, record: ErrorRecord) -> StarlingError:
        """Return the error of the class whose code the record carries, or the base class."""
        for kind in _kinds(cls):
            if kind.code == record.code:
                error = kind.__new__(kind)
                StarlingError.__init__(
                    error, record.message, hint=record.hint, origin=record.origin
                )
                return error
        return StarlingError(record.message, hint=record.hint, origin=record.origin)


def _kinds(base: type[StarlingError]) -> Iterator[type[StarlingError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


class StoreError(StarlingError, OperationalError):
    """An object store could not do what was asked of it."""

    code = "STORE"


class ObjectMissing(StoreError):
    """There is no object under this key."""

    code = "OBJECT_MISSING"


class ObjectExists(StoreError):
    """A conditional put found an object under its key: somebody else was first."""

    code = "OBJECT_EXISTS"


class StoreFull(StoreError):
    """No room is left where objects are kept."""

    code = "STORE_FULL"


class StoreDenied(StoreError):
    """The store refuses access."""

    code = "STORE_DENIED"


class CredentialsMissing(StoreDenied):
    """There are no credentials to sign a request with."""

    code = "CREDENTIALS_MISSING"


class CredentialsExpired(StoreDenied):
    """The credentials were good once."""

    code = "CREDENTIALS_EXPIRED"


class ClockSkew(StoreDenied):
    """This machine's clock differs too much from the store's for a signature to be accepted."""

    code = "CLOCK_SKEW"


class ObjectChanged(StoreError):
    """An object is not the one that was looked at before: it was replaced since."""

    code = "OBJECT_CHANGED"


class BucketMissing(StoreError):
    """There is no bucket of this name."""

    code = "BUCKET_MISSING"


class VersionedBucket(StoreError):
    """A bucket keeps what is deleted, so it is not fit for scratch data."""

    code = "VERSIONED_BUCKET"


class WrongRegion(StoreError):
    """The bucket is in another region than the one that was asked."""

    code = "WRONG_REGION"


class StoreUnavailable(StoreError):
    """The store gave no useful answer, however often it was asked."""

    code = "STORE_UNAVAILABLE"


class CorruptObject(StarlingError, OperationalError):
    """Bytes read back are not those that were written, or not a shuffle object at all."""

    code = "CORRUPT_OBJECT"
