"""PUTs with two timers: what takes too long is sent again, and the first success counts.

obstore does not tell when a body has left, so these requests are sent by ``http.client``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starling_py.shuffle.s3_attempt import PutRequest
from starling_py.shuffle.s3_connections import Connections
from starling_py.shuffle.s3_race import Race, Traffic
from starling_py.shuffle.s3_sign import UNSIGNED, encode_key, host_of, payload_hash, sign
from starling_py.shuffle.write_policy import WritePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starling_py.shuffle.meter import Meter
    from starling_py.shuffle.objects import Buffer
    from starling_py.shuffle.s3_credentials import Credentials
    from starling_py.shuffle.s3_options import S3Options

__all__ = ["Uploader"]

# What is cut off ends at once, except for who waits for the name service: ``close`` waits for that.
_LINGER = 0.2


class Uploader:
    """Puts objects into a bucket. May be used from several threads, or tasks, at once.

    A put is one request or, if that is slow, two: nothing is repeated that has failed.

    Parameters
    ----------
    bucket, options
        Where to, and how to get there.
    credentials
        Signs the requests, unless it is ``None``. It is asked by another thread than the caller's.
    meter
        Counts the requests, in the context of the caller.
    policy
        When a request is slow, and what follows.
    """

    def __init__(
        self,
        bucket: str,
        options: S3Options,
        credentials: Callable[[], Credentials] | None,
        meter: Meter,
        policy: WritePolicy | None = None,
    ) -> None:
        url = options.bucket_url(bucket)
        self._options = options
        self._credentials = None if options.anonymous else credentials
        self._meter = meter
        self._asks_kms = False
        self._host = host_of(url)
        self._root = f"/{encode_key(bucket)}/" if options.in_path(bucket) else "/"
        self._connections = Connections(url, options)
        self._traffic = Traffic(self._connections, policy or WritePolicy())

    def put(self, key: str, parts: Sequence[Buffer], *, create: bool) -> None:
        """PUT an object, with ``create`` only if there is none.

        Raises
        ------
        HttpFailure
            For :func:`~starling_py.shuffle.s3_errors.classify`. Its status is 412 also where the
            object is the one that was put, if the reply to that is late or lost.
        StoreError
            If the uploader is closed, or is being closed.
        """
        ended = threading.Event()
        race = Race(self._traffic, self._request(key, parts, create=create), ended.set)
        try:
            while (seconds := race.step()) is not None:
                ended.wait(seconds)
                ended.clear()
        finally:
            race.end()
            limit = time.monotonic() + _LINGER
            while not race.ended() and (rest := limit - time.monotonic()) > 0:
                ended.wait(rest)
                ended.clear()
            self._count(race)

    async def put_async(self, key: str, parts: Sequence[Buffer], *, create: bool) -> None:
        """As ``put``, for a task of an event loop. Cancelling the task cuts the request off."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # nobody is left when the loop has ended
                loop.call_soon_threadsafe(ended.set)

        race = Race(self._traffic, self._request(key, parts, create=create), wake)
        try:
            while (seconds := race.step()) is not None:
                await _wait(ended, seconds)
        finally:
            race.end()
            limit = loop.time() + _LINGER
            try:
                while not race.ended() and (rest := limit - loop.time()) > 0:
                    await _wait(ended, rest)
            finally:
                self._count(race)

    @property
    def asks_kms(self) -> bool:
        """Whether the store has made a request to KMS for an object that was put."""
        return self._asks_kms

    def _count(self, race: Race) -> None:
        counts = race.leave()
        if counts.kms:
            self._asks_kms = True
        self._meter.add(counts)

    def close(self) -> None:
        """Cut off what is under way, end the threads and close the connections."""
        self._traffic.close()
        self._connections.close()

    def _request(self, key: str, parts: Sequence[Buffer], *, create: bool) -> PutRequest:
        # Arrow's buffers say that their bytes are signed.
        body = [memoryview(part).cast("B") for part in parts if len(part)]
        path = self._root + encode_key(key)
        size = sum(len(view) for view in body)
        headers = self._headers(size, create=create)
        return PutRequest(path, body, lambda: self._signed(path, headers, body))

    def _headers(self, size: int, *, create: bool) -> dict[str, str]:
        options = self._options
        headers = {"host": self._host, "content-length": str(size)}
        if create:
            headers["if-none-match"] = "*"
        if options.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        encryption = "x-amz-server-side-encryption"
        if options.encryption is not None:
            headers[encryption] = options.encryption
        if options.encryption == "aws:kms":
            headers[f"{encryption}-bucket-key-enabled"] = "true"
            if options.kms_key is not None:
                headers[f"{encryption}-aws-kms-key-id"] = options.kms_key
        return headers

    def _signed(
        self, path: str, headers: Mapping[str, str], body: Sequence[memoryview]
    ) -> Mapping[str, str]:
        if self._credentials is None:
            return headers
        return sign(
            "PUT",
            path,
            headers,
            UNSIGNED if self._connections.secure else payload_hash(body),
            credentials=self._credentials(),
            region=self._options.region or "us-east-1",
            now=datetime.now(UTC),
        )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
