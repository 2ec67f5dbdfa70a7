"""What an AWS account holds, so that a deployment can be seen to leave nothing."""

from __future__ import annotations

from starling_py.deploy.aws import Aws

__all__ = ["things"]


def things(aws: Aws) -> dict[str, set[str]]:
    """Return the names of everything that a deployment may make."""
    stacks = aws.call("cloudformation", "list_stacks")["StackSummaries"]
    return {
        "stacks": {s["StackName"] for s in stacks if s["StackStatus"] != "DELETE_COMPLETE"},
        "functions": {f["FunctionName"] for f in aws.call("lambda", "list_functions")["Functions"]},
        "roles": {role["RoleName"] for role in aws.call("iam", "list_roles")["Roles"]},
        "log groups": {
            group["logGroupName"] for group in aws.call("logs", "describe_log_groups")["logGroups"]
        },
        "buckets": {each["Name"] for each in aws.call("s3", "list_buckets")["Buckets"]},
    }
