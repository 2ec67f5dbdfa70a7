"""One put, which is one attempt or two; and what all puts of a store have in common."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from starling_py.shuffle.errors import StoreError
from starling_py.shuffle.meter import RequestCounts
from starling_py.shuffle.s3_attempt import Attempt, PutRequest
from starling_py.shuffle.s3_errors import HttpFailure, is_throttled, read_reply
from starling_py.shuffle.write_policy import WritePolicy, WriteTimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.shuffle.s3_connections import Connections

__all__ = ["PUT_THREAD", "Race", "Traffic"]

PUT_THREAD = "s3-put"
# Threads are made on demand. Were they fewer than the requests, a hedge would wait for the PUT
# that it is to overtake.
_THREADS = 512


class Traffic:
    """The attempts of all puts of a store, and the threads that make them."""

    def __init__(self, connections: Connections, policy: WritePolicy) -> None:
        self.policy = policy
        self.times = WriteTimes(policy)
        self._connections = connections
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=PUT_THREAD)
        self._lock = threading.Lock()
        self._running: set[Attempt] = set()
        self._hedges = 0
        self._puts = 0
        self._quiet_until = 0.0
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def puts(self) -> int:
        """How many are under way."""
        return self._puts

    def enter(self) -> None:
        """Note that a put begins."""
        with self._lock:
            self._puts += 1

    def leave(self, hedges: int) -> None:
        """Note that a put is over, and how many hedges it was allowed."""
        with self._lock:
            self._puts -= 1
            self._hedges -= hedges

    def start(self, request: PutRequest, *, hedge: bool) -> tuple[Attempt, Future[None]]:
        """Send a request from another thread."""
        attempt = Attempt(self._connections, request, hedge=hedge)
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            self._running.add(attempt)
            future = self._pool.submit(attempt.run)
        future.add_done_callback(lambda _: self._forget(attempt))
        return attempt, future

    def may_hedge(self) -> bool:
        """Return whether a second PUT may be sent now; if so, it counts as under way."""
        with self._lock:
            if self._hedges >= self.policy.in_flight or time.monotonic() < self._quiet_until:
                return False
            self._hedges += 1
            return True

    def throttled(self) -> None:
        """Send nothing twice for a while: the store asked for less load."""
        with self._lock:
            self._quiet_until = time.monotonic() + self.policy.quiet

    def close(self) -> None:
        """Cut off what is under way, and wait until the threads have ended."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for attempt in running:
            attempt.end(HttpFailure(None, "the store was closed", "Interrupted"))
        self._pool.shutdown()

    def _forget(self, attempt: Attempt) -> None:
        with self._lock:
            self._running.discard(attempt)


class Race:
    """One put: an attempt and perhaps a second one. Nothing here waits.

    ``wake`` is called, by another thread, when an attempt has ended.
    """

    def __init__(self, traffic: Traffic, request: PutRequest, wake: Callable[[], object]) -> None:
        self._traffic = traffic
        self._request = request
        self._wake = wake
        self._futures: dict[Attempt, Future[None]] = {}
        self._open: dict[Attempt, Future[None]] = {}
        self._first = self._start(hedge=False)
        self._failures: list[HttpFailure] = []
        self._winner: Attempt | None = None
        self._not_before = 0.0
        self._settle: float | None = None
        traffic.enter()
        self._beside = traffic.puts

    def step(self) -> float | None:
        """Look at the attempts, send a second one if it is time, and return when to look again.

        Returns
        -------
        Seconds, or none where the object has been put.
        """
        now = time.monotonic()
        for attempt, future in list(self._open.items()):
            if future.done():
                del self._open[attempt]
                if self._succeeded(future):
                    self._winner = attempt
                    self._observe(attempt)
                    return None
            elif now >= attempt.deadline:
                del self._open[attempt]
                late = HttpFailure(None, "no answer in time", "Timeout", sent=attempt.left)
                attempt.end(late)
                self._failures.append(late)
        if self._failures and self._over(now):
            raise self._failure()
        wakes = [attempt.deadline for attempt in self._open]
        if self._settle is not None:
            wakes.append(self._settle)
        elif len(self._futures) == 1 and self._traffic.policy.enabled:
            wakes.append(self._hedge(now))
        return max(0.0, min(wakes) - now)

    def end(self) -> None:
        """Cut off whatever is still under way."""
        for attempt, future in self._futures.items():
            if not future.cancel() and not future.done():
                attempt.end(HttpFailure(None, "another attempt won", "Interrupted"))

    def ended(self) -> bool:
        """Return whether nothing is under way any more."""
        return all(future.done() for future in self._futures.values())

    def leave(self) -> RequestCounts:
        """Return what has been sent."""
        self._traffic.leave(len(self._futures) - 1)
        sent = [attempt for attempt in self._futures if attempt.left]
        lost = 0
        if len(sent) > 1:
            lost = sum(attempt.sent for attempt in sent if attempt is not self._winner)
        return RequestCounts(
            put=len(sent),
            bytes_out=lost + (self._request.size if self._winner else 0),
            hedges=sum(attempt.hedge for attempt in sent),
            hedges_won=int(self._winner is not None and self._winner.hedge),
            hedge_bytes=lost,
            kms=sum(attempt.asked_kms for attempt in sent),
        )

    def _succeeded(self, future: Future[None]) -> bool:
        error = future.exception()
        if error is None:
            return True
        if not isinstance(error, HttpFailure):
            raise error
        if is_throttled(read_reply(error)):
            self._traffic.throttled()
        self._failures.append(error)
        return False

    def _over(self, now: float) -> bool:
        """Return whether no success can be hoped for."""
        if not self._open:
            return True
        if self._settle is None and any(failure.status == 412 for failure in self._failures):
            self._settle = now + self._traffic.policy.settle
        return self._settle is not None and now >= self._settle

    def _failure(self) -> Exception:
        if self._traffic.closed:
            return StoreError("the store was closed while it was used")
        # A 412 may be our own win, and where there are two replies it says most.
        return min(
            self._failures, key=lambda failure: (failure.status != 412, failure.status is None)
        )

    def _hedge(self, now: float) -> float:
        """Send a second request if a timer has fired; return when to look again."""
        first, times = self._first, self._traffic.times
        # Others that began later take their share of the bandwidth too.
        self._beside = max(self._beside, self._traffic.puts)
        whole = first.begun + times.whole(self._request.size, self._beside)
        # The body cannot have been sent for that long before that long has passed.
        commit = (first.handed if first.handed is not None else now) + times.commit()
        due = max(min(whole, commit), self._not_before)
        if now < due:
            return due
        if (now < whole and first.unsent()) or not self._traffic.may_hedge():
            self._not_before = now + self._traffic.policy.latency
            return self._not_before
        return self._start(hedge=True).deadline

    def _start(self, *, hedge: bool) -> Attempt:
        attempt, future = self._traffic.start(self._request, hedge=hedge)
        self._futures[attempt] = self._open[attempt] = future
        future.add_done_callback(lambda _: self._wake())
        return attempt

    def _observe(self, attempt: Attempt) -> None:
        if attempt.handed is not None:
            self._traffic.times.observe(
                self._request.size,
                self._beside,
                attempt.handed - attempt.begun,
                attempt.answered - attempt.handed,
            )
