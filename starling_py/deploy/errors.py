"""What can go wrong while a bundle is built or deployed.

::

    StarlingError
    └── DeployError
        ├── WheelsMissing       no wheel for the wanted platform could be had
        ├── BundleTooLarge      more than a function may have
        ├── DeployDenied        AWS refuses an action
        ├── NotDeployed         there is nothing of this name
        ├── StackBusy           somebody else changes the stack
        ├── StackFailed         CloudFormation gave up, and why
        └── ForeignObjects      a bucket holds what somebody else put there
"""

from __future__ import annotations

from starling_py.shuffle.dbapi import OperationalError
from starling_py.shuffle.errors import StarlingError

__all__ = [
    "BundleTooLarge",
    "DeployDenied",
    "DeployError",
    "ForeignObjects",
    "NotDeployed",
    "StackBusy",
    "StackFailed",
    "WheelsMissing",
]


class DeployError(StarlingError, OperationalError):
    """A bundle could not be built or deployed."""

    code = "DEPLOY"


class WheelsMissing(DeployError):
    """No wheel for the wanted platform and version of Python could be had."""

    code = "WHEELS_MISSING"


class BundleTooLarge(DeployError):
    """The unpacked bundle is larger than AWS Lambda allows."""

    code = "BUNDLE_TOO_LARGE"


class DeployDenied(DeployError):
    """AWS refuses an action to these credentials."""

    code = "DEPLOY_DENIED"


class NotDeployed(DeployError):
    """There is no deployment of this name."""

    code = "NOT_DEPLOYED"


class StackBusy(DeployError):
    """The stack is being changed by somebody else."""

    code = "STACK_BUSY"


class StackFailed(DeployError):
    """CloudFormation could not make, change or remove the stack."""

    code = "STACK_FAILED"


class ForeignObjects(DeployError):
    """A bucket that would be removed holds objects that Starling did not write."""

    code = "FOREIGN_OBJECTS"
