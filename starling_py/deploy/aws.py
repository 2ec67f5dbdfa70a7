"""Clients of AWS for a deployment, and their errors as this package tells them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starling_py.catalog.errors import UsageError
from starling_py.deploy.errors import DeployDenied, DeployError
from starling_py.shuffle.errors import CredentialsExpired, CredentialsMissing
from starling_py.shuffle.s3_options import options_from_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Aws", "code_of", "status_of"]

_LOGIN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or `aws sso login`"
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_WRONG = {
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthFailure",
}
_TIMEOUT = 30
_ATTEMPTS = 5


def code_of(error: BaseException) -> str:
    """Return the code of an error that a service answered, or nothing."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error that a service answered, or 0."""
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


class Aws:
    """The services of one region. Clients are made when they are first used.

    Raises
    ------
    DeployError
        If boto3 is not installed.
    """

    def __init__(self, region: str | None = None, profile: str | None = None) -> None:
        try:
            import boto3
            import boto3.exceptions
            import botocore.config
            import botocore.exceptions
        except ImportError as error:
            raise DeployError(
                "boto3 is not installed", hint="pip install 'starling-py[lambda]'"
            ) from error
        found = options_from_environment(os.environ)
        self._exceptions = botocore.exceptions
        self._upload_failed = boto3.exceptions.S3UploadFailedError
        self._config = botocore.config.Config(
            connect_timeout=_TIMEOUT,
            read_timeout=_TIMEOUT,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        )
        self._clients: dict[str, Any] = {}
        with self.translated():
            self._session = boto3.Session(
                region_name=region or found.region, profile_name=profile or found.profile
            )
            if self._session.region_name is None:
                raise UsageError("no AWS region is named", hint="give --region or set AWS_REGION")
            if self._session.get_credentials() is None:
                raise CredentialsMissing("there are no AWS credentials", hint=_LOGIN)

    @property
    def region(self) -> str:
        """The region in which everything is."""
        return str(self._session.region_name)

    @property
    def partition(self) -> str:
        """The part of AWS that the region is in: ``aws`` for most."""
        return str(self._session.get_partition_for_region(self.region))

    @property
    def refused(self) -> type[Exception]:
        """What a client raises for an error that a service answered."""
        kind: type[Exception] = self._exceptions.ClientError
        return kind

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        if service not in self._clients:
            with self.translated():
                self._clients[service] = self._session.client(service, config=self._config)
        return self._clients[service]

    def call(self, service: str, operation: str, **arguments: Any) -> Any:
        """Ask a service for something, with errors told as this package does.

        Raises
        ------
        CredentialsMissing, CredentialsExpired
            If there are no credentials, or none that are valid.
        DeployDenied
            If they do not allow the operation.
        DeployError
            If the service says something else, or cannot be reached.
        """
        client = self.client(service)
        with self.translated(f"{service}:{client.meta.method_to_api_mapping[operation]}"):
            return getattr(client, operation)(**arguments)

    @contextmanager
    def translated(self, action: str = "") -> Iterator[None]:
        """Raise what this package raises instead of what boto3 does."""
        kinds = self._exceptions
        try:
            yield
        except (kinds.NoCredentialsError, kinds.PartialCredentialsError) as error:
            raise CredentialsMissing("there are no AWS credentials", hint=_LOGIN) from error
        except kinds.ProfileNotFound as error:
            raise CredentialsMissing("there is no such AWS profile", hint=_LOGIN) from error
        except (kinds.TokenRetrievalError, kinds.SSOTokenLoadError) as error:
            raise CredentialsExpired("the AWS credentials have expired", hint=_LOGIN) from error
        except kinds.ClientError as error:
            raise _told(error, action) from error
        except self._upload_failed as error:
            raise _told(error.__context__ or error, action) from error
        except kinds.BotoCoreError as error:
            raise DeployError(
                f"AWS cannot be asked{f' for {action}' if action else ''}: {type(error).__name__}",
                hint="is the network there, and the region right?",
            ) from error

    def close(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()


def _told(error: BaseException, action: str) -> Exception:
    code = code_of(error)
    if code in _EXPIRED:
        return CredentialsExpired("the AWS credentials have expired", hint=_LOGIN)
    if code in _WRONG:
        return CredentialsMissing(f"AWS does not know these credentials: {code}", hint=_LOGIN)
    if code in _DENIED or status_of(error) == 403:
        # The service's own text names accounts and resources.
        return DeployDenied(
            f"these credentials do not allow {action}",
            hint="docs/deploy.md lists what a deployment needs",
        )
    message = getattr(error, "response", {}).get("Error", {}).get("Message", "")
    return DeployError(f"{action} failed: {code}: {message}".rstrip(": "))
