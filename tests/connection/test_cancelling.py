"""Who stops what, when several things are asked to end or none is there any more."""

from __future__ import annotations

import sys
import threading

import pytest

import starling_py
from starling_py.cancelling import Cancellation
from starling_py.errors import Cancelled


def test_what_is_over_is_not_stopped():
    cancellation, stopped = Cancellation(), []
    first = cancellation.stopped_by(lambda: stopped.append("first"))
    second = cancellation.stopped_by(lambda: stopped.append("second"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    cancellation.cancel()
    assert stopped == ["second"]
    second.__exit__(None, None, None)
    with pytest.raises(Cancelled), cancellation.stopped_by(lambda: stopped.append("third")):
        pytest.fail("it does not begin any more")


def test_a_signal_handler_may_cancel_whatever_its_thread_is_at():
    cancellation, done = Cancellation(), threading.Event()

    def interrupted():
        with cancellation._lock:  # noqa: SLF001 - the handler comes here
            cancellation.cancel()
        done.set()

    threading.Thread(target=interrupted, daemon=True).start()
    assert done.wait(10)


def test_streams_of_one_answer_may_end_in_any_order(data):
    with starling_py.connect(data, workers=1) as connection:
        cursor = connection.execute("SELECT i::HUGEINT AS h FROM t")
        first, second = (cursor.fetch_record_batch_reader(100) for _ in range(2))
        first.read_next_batch()
        second.read_next_batch()
        for _ in first:
            pass
        for _ in second:
            pass
        cursor.cancel()
        with pytest.raises(Cancelled):
            cursor.fetchone()


def test_cursors_may_be_made_while_a_connection_is_closed(data):
    failed, kept = [], []
    stop = threading.Event()
    interval = sys.getswitchinterval()

    def make(connection):
        while not stop.is_set():
            try:
                kept.append(connection.cursor())
            except starling_py.InterfaceError:
                return

    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            connection = starling_py.connect(data, workers=1)
            kept.extend(connection.cursor() for _ in range(1000))
            thread = threading.Thread(target=make, args=(connection,))
            thread.start()
            try:
                connection.close()
            except RuntimeError as error:
                failed.append(error)
            stop.set()
            thread.join(60)
            stop.clear()
            kept.clear()
    finally:
        sys.setswitchinterval(interval)
    assert failed == []
