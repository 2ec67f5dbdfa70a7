"""What can go wrong between a client and its function on AWS Lambda.

::

    StarlingError
    └── FunctionError
        ├── FunctionMissing      there is no function of this name in this region
        ├── FunctionDenied       the credentials do not allow what was asked of it
        ├── FunctionMismatch     it is of another version than the client, or not Starling's
        ├── FunctionBroken       its code cannot be loaded
        ├── FunctionTooSmall     its memory is too small to run tasks in
        ├── FunctionThrottled    Lambda refuses more calls at once, and has done so for too long
        ├── FunctionUnavailable  no useful answer, however often it was called
        └── BadInvocation        what it was sent is not what a client of its version sends

What happens to a task in a function, such as ``OutOfMemory``, is told by the errors of tasks.
"""

from __future__ import annotations

from starling_py.shuffle.dbapi import OperationalError
from starling_py.shuffle.errors import StarlingError

__all__ = [
    "BadInvocation",
    "FunctionBroken",
    "FunctionDenied",
    "FunctionError",
    "FunctionMismatch",
    "FunctionMissing",
    "FunctionThrottled",
    "FunctionTooSmall",
    "FunctionUnavailable",
]


class FunctionError(StarlingError, OperationalError):
    """A function could not be used."""

    code = "FUNCTION"


class FunctionMissing(FunctionError):
    """There is no function of this name where it was looked for."""

    code = "FUNCTION_MISSING"


class FunctionDenied(FunctionError):
    """The credentials do not allow what was asked of the function."""

    code = "FUNCTION_DENIED"


class FunctionMismatch(FunctionError):
    """The function is of another version than the client, or something else entirely."""

    code = "FUNCTION_MISMATCH"


class FunctionBroken(FunctionError):
    """The function's code cannot be loaded."""

    code = "FUNCTION_BROKEN"


class FunctionTooSmall(FunctionError):
    """The function has too little memory to run tasks in."""

    code = "FUNCTION_TOO_SMALL"


class FunctionThrottled(FunctionError):
    """Lambda refuses more calls at once, and has done so for too long."""

    code = "FUNCTION_THROTTLED"


class FunctionUnavailable(FunctionError):
    """Lambda gave no useful answer, however often the function was called."""

    code = "FUNCTION_UNAVAILABLE"


class BadInvocation(FunctionError):
    """What a function was sent is not what a client of its version sends."""

    code = "BAD_INVOCATION"
