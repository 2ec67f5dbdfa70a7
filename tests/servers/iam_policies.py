"""Policies of roles in moto's IAM, and what encryption adds to what they must allow."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from fnmatch import fnmatchcase

from starling_py.deploy.aws import Aws

KEY = "arn:aws:kms:us-east-1:123456789012:key/scratch"
DATA_KEY = "arn:aws:kms:us-east-1:123456789012:key/data"


@dataclass(frozen=True)
class Policy:
    """Allow statements; there are no conditions in them."""

    statements: tuple[dict[str, object], ...]

    @classmethod
    def of(cls, aws: Aws, stack: str, role: str = "worker") -> Policy:
        """Return the policy of the role of a function, read back from IAM."""
        resources = aws.call("cloudformation", "list_stack_resources", StackName=stack)
        (name,) = [
            each["PhysicalResourceId"]
            for each in resources["StackResourceSummaries"]
            if each["LogicalResourceId"] == f"{role.title()}Role"
        ]
        names = aws.call("iam", "list_role_policies", RoleName=name)["PolicyNames"]
        assert names == [role]
        policy = aws.call("iam", "get_role_policy", RoleName=name, PolicyName=role)
        attached = aws.call("iam", "list_attached_role_policies", RoleName=name)
        assert attached["AttachedPolicies"] == []
        # moto keeps what a stack sets as the text of a Python value, not as JSON, and None where
        # CloudFormation leaves AWS::NoValue out.
        document = ast.literal_eval(policy["PolicyDocument"])
        statements = tuple(each for each in document["Statement"] if each)
        for statement in statements:
            assert statement["Effect"] == "Allow"
            assert set(statement) == {"Sid", "Effect", "Action", "Resource"}
        return cls(statements)

    def used(self, action: str, resource: str) -> set[tuple[str, str]]:
        """Return the statements, by name and action, that allow an action."""
        return {
            (str(statement["Sid"]), action)
            for statement in self.statements
            if action in listed(statement["Action"])
            and any(fnmatchcase(resource, each) for each in listed(statement["Resource"]))
        }

    def everything(self) -> set[tuple[str, str]]:
        return {
            (str(statement["Sid"]), action)
            for statement in self.statements
            for action in listed(statement["Action"])
        }


def listed(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def with_keys(actions: set[tuple[str, str]], scratch_bucket: str) -> set[tuple[str, str]]:
    """Add what S3 asks KMS for in the name of the worker where objects are encrypted."""
    found = set(actions)
    for action, resource in actions:
        key = KEY if resource.startswith(f"arn:aws:s3:::{scratch_bucket}/") else DATA_KEY
        if action == "s3:GetObject":
            found.add(("kms:Decrypt", key))
        elif action == "s3:PutObject":
            # Parts of an object are decrypted to be put together.
            found |= {("kms:GenerateDataKey", key), ("kms:Decrypt", key)}
    return found
