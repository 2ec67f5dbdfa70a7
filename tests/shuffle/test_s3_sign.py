"""Signatures, against those that AWS publishes and those that botocore makes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from unittest import mock
from urllib.parse import unquote, urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_py.shuffle.s3_credentials import Credentials
from starling_py.shuffle.s3_options import S3Options
from starling_py.shuffle.s3_sign import UNSIGNED, encode_key, host_of, payload_hash, sign

PUBLISHED = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PUBLISHED_AT = datetime(2013, 5, 24, tzinfo=UTC)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def published(method: str, path: str, headers: dict[str, str], payload: str) -> str:
    return sign(
        method,
        path,
        {"host": "examplebucket.s3.amazonaws.com", **headers},
        payload,
        credentials=PUBLISHED,
        region="us-east-1",
        now=PUBLISHED_AT,
    )["authorization"]


def test_the_published_get() -> None:
    assert published("GET", "/test.txt", {"range": "bytes=0-9"}, EMPTY) == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_the_published_put() -> None:
    body = payload_hash([b"Welcome to ", memoryview(b"Amazon S3.")])
    assert body == "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    headers = {
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    assert published("PUT", encode_key("/test$file.text"), headers, body) == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


def test_no_parts_have_a_hash() -> None:
    assert payload_hash([]) == EMPTY


OWN = ("authorization", "date", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token")

names = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in botocore.auth.SIGNED_HEADERS_BLACKLIST
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
keys = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30),
    st.text(" +%~/._-&=?#:;,'\"<>[]{}@!$()*\\^`|aZ0\u00e4\u20ac\U0001f426", min_size=1),
)
# Nothing but the characters that such things consist of.
tokens = st.none() | st.text("abcXYZ019+/=", min_size=1, max_size=300)
secrets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)


@given(
    key=keys,
    bucket=st.sampled_from(["bucket", "dotted.bucket", "b-1"]),
    options=st.builds(
        S3Options,
        endpoint=st.sampled_from(
            [None, "http://127.0.0.1:9000", "http://[::1]:9000/", "https://storage.example:443"]
        ),
        region=st.sampled_from([None, "eu-west-1", "cn-north-1"]),
        path_style=st.sampled_from([None, True]),
    ),
    headers=st.dictionaries(names, values, max_size=5),
    token=tokens,
    secret=secrets,
    body=st.lists(st.binary(max_size=10), max_size=3),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)),
)
def test_signs_as_botocore_does(
    key: str,
    bucket: str,
    options: S3Options,
    headers: dict[str, str],
    token: str | None,
    secret: str,
    body: list[bytes],
    now: datetime,
) -> None:
    url = options.bucket_url(bucket)
    path = f"/{encode_key(f'{bucket}/{key}' if options.in_path(bucket) else key)}"
    given_headers = {**headers, "host": host_of(url)}
    for name in OWN:
        given_headers.pop(name, None)
    secure = url.startswith("https")
    signed = sign(
        "PUT",
        path,
        given_headers,
        UNSIGNED if secure else payload_hash(body),
        credentials=Credentials("AKID", secret, token),
        region=options.region or "us-east-1",
        now=now.replace(tzinfo=UTC),
    )

    expected_headers = {name: value for name, value in given_headers.items() if name != "host"}
    request = botocore.awsrequest.AWSRequest(
        "PUT", f"{url.rstrip('/')}{path}", expected_headers, data=b"".join(body)
    )
    request.context["payload_signing_enabled"] = not secure
    if secure:
        # What makes botocore leave the body unsigned; it is no part of the request.
        request.context["client_config"] = mock.Mock(s3={"payload_signing_enabled": False})
    signer = botocore.auth.S3SigV4Auth(
        botocore.credentials.Credentials("AKID", secret, token),
        "s3",
        options.region or "us-east-1",
    )
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        signer.add_auth(request)
    expected = {name.lower(): value for name, value in request.headers.items()}
    assert signed.pop("host") == host_of(url)
    assert signed == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://s3.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com"),
        ("https://B.example:443/x", "b.example"),
        ("http://b.example:443", "b.example:443"),
        ("http://[::1]:80", "[::1]"),
        ("http://[::1]:9000", "[::1]:9000"),
    ],
)
def test_host(url: str, host: str) -> None:
    assert host_of(url) == host


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_key_is_one_path(key: str) -> None:
    parts = urlsplit(f"http://host/{encode_key(key)}")
    assert unquote(parts.path) == f"/{key}"
    assert not parts.query
    assert not parts.fragment


def test_a_signature_is_of_its_day() -> None:
    """What changes the time, and nothing else, changes the signature."""
    seen = {
        sign(
            "PUT",
            "/k",
            {"host": "h"},
            hashlib.sha256().hexdigest(),
            credentials=PUBLISHED,
            region="us-east-1",
            now=PUBLISHED_AT + timedelta(seconds=seconds),
        )["authorization"]
        for seconds in (0, 1, 86400)
    }
    assert len(seen) == 3
