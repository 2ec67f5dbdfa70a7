"""Who signs the requests: a worker by its environment, a client by the whole chain of boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from starling_py.shuffle.errors import CredentialsExpired, CredentialsMissing, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Credentials", "chain_credentials", "chain_region", "environment_credentials"]

_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or `aws sso login`"


class Credentials(msgspec.Struct, frozen=True):
    """A pair of keys, with a token where they are temporary."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r})"


def environment_credentials(environment: Mapping[str, str]) -> Callable[[], Credentials]:
    """Return a source of the keys in the environment, which a function on AWS finds there.

    Raises
    ------
    CredentialsMissing
        If the environment has none.
    """
    access_key = environment.get("AWS_ACCESS_KEY_ID")
    secret_key = environment.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        raise CredentialsMissing("there are no AWS credentials in the environment", hint=_HINT)
    found = Credentials(access_key, secret_key, environment.get("AWS_SESSION_TOKEN") or None)
    return lambda: found


def chain_credentials(profile: str | None = None) -> Callable[[], Credentials]:
    """Return a source of what boto3 would use: environment, profile, SSO, role, instance.

    The source renews what expires each time it is asked. A worker must not call this: it loads
    boto3, which takes longer than many tasks.

    Raises
    ------
    CredentialsMissing
        If the chain finds none.
    CredentialsExpired
        If it finds some that it cannot renew.
    StoreError
        If boto3 is not installed or there is no such profile.
    """
    try:
        import boto3
        import botocore.exceptions
    except ImportError as error:
        raise StoreError("boto3 is not installed", hint="pip install 'starling-py[s3]'") from error

    try:
        found = boto3.Session(profile_name=profile).get_credentials()
    except botocore.exceptions.ProfileNotFound as error:
        raise CredentialsMissing(f"there is no AWS profile {profile}", hint=_HINT) from error
    except botocore.exceptions.BotoCoreError as error:
        raise CredentialsMissing(f"no AWS credentials: {error}", hint=_HINT) from error
    if found is None:
        raise CredentialsMissing("there are no AWS credentials", hint=_HINT)

    def freeze() -> Credentials:
        try:
            frozen = found.get_frozen_credentials()
        except botocore.exceptions.BotoCoreError as error:
            raise CredentialsExpired(
                f"the AWS credentials cannot be renewed: {error}", hint=_HINT
            ) from error
        if not frozen.access_key or not frozen.secret_key:
            raise CredentialsMissing("there are no AWS credentials", hint=_HINT)
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    freeze()
    return freeze


def chain_region(profile: str | None = None) -> str | None:
    """Return the region that the user's AWS configuration names, if any; loads boto3."""
    import boto3
    import botocore.exceptions

    try:
        region = boto3.Session(profile_name=profile).region_name
    except botocore.exceptions.BotoCoreError:
        return None
    return str(region) if region else None
