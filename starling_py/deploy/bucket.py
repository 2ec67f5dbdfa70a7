"""The bucket of a deployment: whether it is fit, its code, its lifecycle rule, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starling_py.deploy.aws import code_of, status_of
from starling_py.deploy.errors import DeployDenied
from starling_py.shuffle.errors import VersionedBucket, WrongRegion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from starling_py.deploy.aws import Aws

__all__ = ["Bucket"]

_BATCH = 1000
_NO_RULES = "NoSuchLifecycleConfiguration"


class Bucket:
    """A bucket, and the prefix in it that is a deployment's own."""

    def __init__(self, aws: Aws, name: str, prefix: str, kms_key: str | None = None) -> None:
        self._aws = aws
        self._name = name
        self._prefix = prefix
        self._kms_key = kms_key

    @property
    def scratch(self) -> str:
        """What the keys of scratch objects begin with."""
        return f"{self._prefix}/scratch/"

    @property
    def code(self) -> str:
        """What the keys of bundles begin with."""
        return f"{self._prefix}/code/"

    def exists(self) -> bool:
        """Return whether the bucket is there.

        Raises
        ------
        DeployDenied
            If somebody else has it, or these credentials may not look at it.
        WrongRegion
            If it is in another region, where no function here can take its code from.
        """
        client = self._aws.client("s3")
        try:
            with self._aws.translated("s3:HeadBucket"):
                try:
                    reply = client.head_bucket(Bucket=self._name)
                except self._aws.refused as error:
                    if status_of(error) == 404:
                        return False
                    if status_of(error) in (301, 400):
                        raise self._elsewhere(error) from error
                    raise
        except DeployDenied as error:
            raise DeployDenied(
                f"the bucket {self._name} is somebody else's, or may not be looked at",
                hint="choose another name: names of buckets are shared by all of AWS",
            ) from error
        region = reply.get("BucketRegion") or self._aws.region
        if region != self._aws.region:
            raise WrongRegion(
                f"the bucket {self._name} is in {region}, not in {self._aws.region}",
                hint=f"deploy with --region {region}, or with another bucket",
            )
        return True

    def _elsewhere(self, error: Exception) -> WrongRegion:
        response: dict[str, Any] = getattr(error, "response", {})
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region", "another region")
        return WrongRegion(
            f"the bucket {self._name} is in {region}, not in {self._aws.region}",
            hint="deploy there (--region), or with another bucket",
        )

    def check(self) -> None:
        """Refuse a bucket that keeps what is deleted.

        Raises
        ------
        VersionedBucket
            If it is versioned.
        """
        reply = self._aws.call("s3", "get_bucket_versioning", Bucket=self._name)
        if reply.get("Status") == "Enabled":
            raise VersionedBucket(
                f"the bucket {self._name} is versioned: scratch objects would stay in it",
                hint="name a bucket without versioning, or one that is not there yet",
            )

    def code_key(self, digest: str) -> str:
        """Return the key of the bundle with this hash."""
        return f"{self.code}{digest[:32]}.zip"

    def upload(self, path: Path, key: str) -> None:
        """Put a bundle under its key."""
        extra = {}
        if self._kms_key:
            extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._kms_key}
        with self._aws.translated("s3:PutObject"):
            self._aws.client("s3").upload_file(str(path), self._name, key, ExtraArgs=extra)

    def ensure_expiry(self) -> None:
        """See to it that scratch objects expire after a day; other rules stay as they are."""
        rules = self._rules()
        wanted = {
            "ID": self._rule_id,
            "Status": "Enabled",
            "Filter": {"Prefix": self.scratch},
            "Expiration": {"Days": 1},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
        if not any(_is_same(rule, wanted) for rule in rules):
            self._put_rules([*(rule for rule in rules if rule.get("ID") != wanted["ID"]), wanted])

    def remove_expiry(self) -> None:
        """Remove the rule that :meth:`ensure_expiry` made, and no other."""
        rules = self._rules()
        rest = [rule for rule in rules if rule.get("ID") != self._rule_id]
        if len(rest) < len(rules):
            self._put_rules(rest)

    @property
    def _rule_id(self) -> str:
        return f"starling {self._prefix}"

    def _rules(self) -> list[dict[str, Any]]:
        client = self._aws.client("s3")
        with self._aws.translated("s3:GetLifecycleConfiguration"):
            try:
                reply = client.get_bucket_lifecycle_configuration(Bucket=self._name)
            except self._aws.refused as error:
                if code_of(error) == _NO_RULES:
                    return []
                raise
        return list(reply.get("Rules", []))

    def _put_rules(self, rules: list[dict[str, Any]]) -> None:
        if rules:
            self._aws.call(
                "s3",
                "put_bucket_lifecycle_configuration",
                Bucket=self._name,
                LifecycleConfiguration={"Rules": rules},
            )
        else:
            self._aws.call("s3", "delete_bucket_lifecycle", Bucket=self._name)

    def objects(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield the keys below a prefix, and the objects' bytes."""
        client = self._aws.client("s3")
        with self._aws.translated("s3:ListBucket"):
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._name, Prefix=prefix
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"], entry["Size"]

    def empty(self, *, keep: Collection[str] = ()) -> int:
        """Remove the deployment's objects; return how many.

        Parameters
        ----------
        keep
            Bundles that stay; scratch objects stay then, too.
        """
        prefixes = (self.code,) if keep else (self.code, self.scratch)
        removed = 0
        for prefix in prefixes:
            keys = [key for key, _ in self.objects(prefix) if key not in keep]
            for start in range(0, len(keys), _BATCH):
                removed += self._delete(keys[start : start + _BATCH])
            removed += 0 if keep else self._abort_uploads(prefix)
        return removed

    def _delete(self, keys: list[str]) -> int:
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        reply = self._aws.call("s3", "delete_objects", Bucket=self._name, Delete=wanted)
        if errors := reply.get("Errors"):
            raise DeployDenied(
                f"{len(errors)} of {len(keys)} objects cannot be removed: {errors[0].get('Code')}"
            )
        return len(keys)

    def _abort_uploads(self, prefix: str) -> int:
        """Parts of an upload that was cut off cost money, and no listing of objects shows them."""
        client = self._aws.client("s3")
        aborted = 0
        with self._aws.translated("s3:ListMultipartUploads"):
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._name, Prefix=prefix
            )
            uploads = [each for page in pages for each in page.get("Uploads", ())]
        for upload in uploads:
            self._aws.call(
                "s3",
                "abort_multipart_upload",
                Bucket=self._name,
                Key=upload["Key"],
                UploadId=upload["UploadId"],
            )
            aborted += 1
        return aborted

    def foreign(self) -> int:
        """Return how many objects the bucket has that are not the deployment's."""
        ours = (self.code, self.scratch)
        return sum(not key.startswith(ours) for key, _ in self.objects())


def _is_same(rule: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Return whether a rule does the same: CloudFormation and S3 write the prefix in two ways."""
    prefix = rule.get("Filter", {}).get("Prefix", rule.get("Prefix"))
    return (
        rule.get("Status") == "Enabled"
        and prefix == wanted["Filter"]["Prefix"]
        and rule.get("Expiration", {}).get("Days") == 1
    )
