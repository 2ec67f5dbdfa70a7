"""A CloudFormation stack: made, changed and removed, each with an end and a reason."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starling_py.deploy.aws import code_of
from starling_py.deploy.errors import StackBusy, StackFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starling_py.deploy.aws import Aws

__all__ = ["Stack"]

_DEAD = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS")
"""Such a stack was never made, and can only be removed."""
_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
_CHANGEABLE = (*_GOOD, "UPDATE_ROLLBACK_COMPLETE")
_NO_CHANGE = "No updates are to be performed"
_FIRST_WAIT = 0.2
_LAST_WAIT = 5.0
_REASONS = 5


class Stack:
    """A stack by its name.

    Parameters
    ----------
    seconds
        How long one change may take; then ``StackFailed`` says so, and CloudFormation goes on.
    told
        Is told what happens, in words.
    """

    def __init__(
        self,
        aws: Aws,
        name: str,
        *,
        seconds: float = 900.0,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self._aws = aws
        self._name = name
        self._seconds = seconds
        self._told = told or (lambda _: None)

    def describe(self) -> dict[str, Any] | None:
        """Return what CloudFormation knows about the stack, or ``None`` where there is none."""
        client = self._aws.client("cloudformation")
        with self._aws.translated("cloudformation:DescribeStacks"):
            try:
                reply = client.describe_stacks(StackName=self._name)
            except self._aws.refused as error:
                if code_of(error) == "ValidationError" and "does not exist" in str(error):
                    return None
                raise
        stacks = reply["Stacks"]
        if not stacks or stacks[0]["StackStatus"] == "DELETE_COMPLETE":
            return None
        return dict(stacks[0])

    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs, or nothing where there is no stack."""
        found = self.describe()
        return {each["OutputKey"]: each["OutputValue"] for each in (found or {}).get("Outputs", ())}

    def apply(self, template: str, parameters: Mapping[str, str]) -> bool:
        """Make the stack, or change it; return whether anything was to be done.

        Raises
        ------
        StackBusy
            If somebody else changes it.
        StackFailed
            If CloudFormation gives up, with its reasons. What it had made is removed again.
        """
        found = self.describe()
        if found is not None and found["StackStatus"] in _DEAD:
            self.delete()
            found = None
        arguments = {
            "StackName": self._name,
            "TemplateBody": template,
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            "Capabilities": ["CAPABILITY_IAM"],
        }
        if found is None:
            self._told(f"making the stack {self._name}")
            tags = [{"Key": "starling", "Value": self._name}]
            stack = self._aws.call("cloudformation", "create_stack", **arguments, Tags=tags)
            self._finish_creation(stack["StackId"])
            return True
        if found["StackStatus"] not in _CHANGEABLE:
            raise self._unfit(found["StackStatus"])
        if not self._update(arguments):
            return False
        self._told(f"changing the stack {self._name}")
        status = self._wait(found["StackId"])
        if status not in _GOOD:
            raise self._failed(found["StackId"], status, "is as it was before")
        return True

    def _update(self, arguments: Mapping[str, Any]) -> bool:
        client = self._aws.client("cloudformation")
        with self._aws.translated("cloudformation:UpdateStack"):
            try:
                client.update_stack(**arguments)
            except self._aws.refused as error:
                if _NO_CHANGE in str(error):
                    return False
                raise
        return True

    def _finish_creation(self, stack: str) -> None:
        status = self._wait(stack)
        if status not in _GOOD:
            failed = self._failed(stack, status, "was removed again")
            self.delete()
            raise failed

    def delete(self) -> None:
        """Remove the stack, if there is one, with all that is in it.

        Raises
        ------
        StackFailed
            If something of it cannot be removed.
        """
        found = self.describe()
        if found is None:
            return
        if found["StackStatus"].endswith("_IN_PROGRESS") and found["StackStatus"] not in _DEAD:
            raise self._unfit(found["StackStatus"])
        self._told(f"removing the stack {self._name}")
        self._aws.call("cloudformation", "delete_stack", StackName=self._name)
        status = self._wait(found["StackId"])
        if status != "DELETE_COMPLETE":
            raise self._failed(found["StackId"], status, "is partly there")

    def _wait(self, stack: str) -> str:
        """Return the status in which the stack comes to rest."""
        deadline = time.monotonic() + self._seconds
        wait = _FIRST_WAIT
        while True:
            status = self._status(stack)
            if not status.endswith("_IN_PROGRESS"):
                return status
            if time.monotonic() + wait > deadline:
                raise StackFailed(
                    f"the stack {self._name} is not done after {self._seconds:.0f} seconds",
                    hint="CloudFormation goes on: look again with `starling status`",
                )
            time.sleep(wait)
            wait = min(wait * 1.5, _LAST_WAIT)

    def _status(self, stack: str) -> str:
        # By its id, under which a stack is known after its removal too.
        client = self._aws.client("cloudformation")
        with self._aws.translated("cloudformation:DescribeStacks"):
            try:
                reply = client.describe_stacks(StackName=stack)
            except self._aws.refused as error:
                if code_of(error) == "ValidationError" and "does not exist" in str(error):
                    return "DELETE_COMPLETE"
                raise
        return str(reply["Stacks"][0]["StackStatus"])

    def _unfit(self, status: str) -> StackBusy | StackFailed:
        if status.endswith("_IN_PROGRESS"):
            return StackBusy(
                f"the stack {self._name} is being changed: {status}",
                hint="wait for the end of that, and try again",
            )
        return StackFailed(
            f"the stack {self._name} cannot be changed: {status}",
            hint="remove it with `starling undeploy`, and deploy again",
        )

    def _failed(self, stack: str, status: str, state: str) -> StackFailed:
        reasons = self._reasons(stack)
        lines = "".join(f"\n  {reason}" for reason in reasons)
        return StackFailed(f"the stack {self._name} failed ({status}) and {state}{lines}")

    def _reasons(self, stack: str) -> list[str]:
        """Return why resources failed in the last change, the first cause first."""
        reply = self._aws.call("cloudformation", "describe_stack_events", StackName=stack)
        reasons: list[str] = []
        for event in reply["StackEvents"]:
            status, reason = event.get("ResourceStatus", ""), event.get("ResourceStatusReason", "")
            if event["LogicalResourceId"] == self._name and reason == "User Initiated":
                break
            # The rest were stopped because of the first.
            if status.endswith("_FAILED") and "cancelled" not in reason:
                reasons.append(f"{event['LogicalResourceId']}: {reason or status}")
        return reasons[::-1][:_REASONS]
