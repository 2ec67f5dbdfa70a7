"""Signing a request to AWS in its headers: AWS Signature Version 4. Pure functions."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from starling_py.shuffle.objects import Buffer
    from starling_py.shuffle.s3_credentials import Credentials

__all__ = ["UNSIGNED", "encode_key", "host_of", "payload_hash", "sign"]

UNSIGNED = "UNSIGNED-PAYLOAD"
"""Stands for the hash of a body that nothing but TLS protects."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def encode_key(key: str) -> str:
    """Return a key as it stands in the path of a URL, and in what is signed."""
    return quote(key, safe="/")


def host_of(url: str) -> str:
    """Return the value of the Host header: without the port where that goes without saying."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port is None or parts.port == _DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"{host}:{parts.port}"


def payload_hash(parts: Iterable[Buffer]) -> str:
    """Return the SHA-256 of the concatenation of ``parts``."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def sign(
    method: str,
    path: str,
    headers: Mapping[str, str],
    payload: str,
    *,
    query: str = "",
    credentials: Credentials,
    region: str,
    now: datetime,
    service: str = "s3",
) -> dict[str, str]:
    """Return ``headers`` and those that sign them.

    Parameters
    ----------
    path
        Percent-encoded, as it will be sent.
    headers
        With lower-case names, ``host`` among them. All are signed.
    payload
        What :func:`payload_hash` says of the body, or :data:`UNSIGNED`.
    query
        Percent-encoded, in order of its names, each with an equals sign.
    now
        The time in UTC. The store refuses it when it is a quarter of an hour off.
    service
        For others than S3 a path that has anything to encode is encoded twice where it is signed.
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "x-amz-content-sha256": payload, "x-amz-date": stamp}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = sorted(signed)
    # Runs of spaces count as one, whatever is sent.
    lines = [f"{name}:{' '.join(signed[name].split())}\n" for name in names]
    listed = ";".join(names)
    request = "\n".join((method, path, query, "".join(lines), listed, payload))
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    signed["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={listed}, Signature={key.hex()}"
    )
    return signed
