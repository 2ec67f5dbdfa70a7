"""Attempts at a request: each counted if it left, and repeated as the policy says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from starling_py.shuffle.errors import CorruptObject, CredentialsExpired
from starling_py.shuffle.hedge import Hedger
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.retry import Fault, Retrier
from starling_py.shuffle.s3_errors import (
    Action,
    BrokenBody,
    HttpFailure,
    Request,
    classify,
    is_throttled,
    read_reply,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starling_py.shuffle.meter import Meter, RequestKind
    from starling_py.shuffle.retry import Uniform
    from starling_py.shuffle.s3_access import BucketAccess
    from starling_py.shuffle.s3_options import S3Options
    from starling_py.shuffle.s3_upload import Uploader

__all__ = ["Asker"]

T = TypeVar("T")


class Asker:
    """Asks one bucket, again and with new credentials where that may help.

    Parameters
    ----------
    adopt
        Told of every task that is started, to cancel it when the loop is let go.
    """

    def __init__(
        self,
        bucket: str,
        options: S3Options,
        access: BucketAccess,
        meter: Meter,
        random: Uniform,
        adopt: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self._bucket = bucket
        self._options = options
        self._access = access
        self._meter = meter
        self._retrier = Retrier(options.retry, random, sleep=asyncio.sleep)
        self.hedger = Hedger(options.hedge, meter, adopt)
        """Sends rivals of slow reads."""
        self.caught: tuple[type[Exception], ...] = (*access.errors, BrokenBody, HttpFailure)
        """What a request may fail with."""
        self.uploader: Uploader | None = None
        """What PUTs go through, as soon as there was one: their replies tell of KMS."""

    async def ask(self, action: Action, key: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make attempts until one succeeds or there is no hope."""
        request = Request(
            action,
            self._bucket,
            key,
            self._options.bucket_url(self._bucket),
            self._options.region or "us-east-1",
        )
        renewals = self._access.renewals
        may_renew = True

        async def once() -> T:
            nonlocal renewals
            renewals = self._access.renewals
            return await attempt()

        async def judge(error: Exception) -> Fault:
            nonlocal may_renew
            fault = await self._access.own_fault(error)
            if fault is not None:
                return fault
            fault = classify(error, request)
            if isinstance(fault.error, CredentialsExpired) and may_renew:
                may_renew = False
                return msgspec.structs.replace(fault, retry=await self._access.renew(renewals))
            return fault

        return await self._retrier.call(
            once, self.caught, judge, lambda: self._meter.add(RequestCounts(retries=1))
        )

    async def counted(
        self,
        kind: RequestKind,
        send: Callable[[], Awaitable[T]],
        counts: Callable[[T], RequestCounts] | None = None,
    ) -> T:
        """Send one request, and count it if it left: answered, failed or cut off."""
        try:
            result = await send()
        except self.caught as error:
            reply = read_reply(error)
            if is_throttled(reply):
                self.hedger.throttled()
            if reply.sent and not isinstance(error, self._access.unauthenticated):
                self._meter.count(kind)
            raise
        except (CorruptObject, asyncio.CancelledError):
            self._meter.count(kind)
            raise
        if counts is None:
            self._meter.count(kind)
        else:
            self._meter.add(counts(result))
        if kind == "get" and self._asks_kms():
            self._meter.add(RequestCounts(kms=1))
        return result

    def _asks_kms(self) -> bool:
        """Return whether each GET makes the store ask KMS. No reply to a GET tells it here."""
        uploader = self.uploader
        return self._options.kms_reads or (uploader is not None and uploader.asks_kms)
