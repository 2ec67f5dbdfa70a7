"""Threads for calls, where the system gives no more of them."""

from __future__ import annotations

import threading

import pytest

from starling_py.invokers.call_threads import CallThreads

LATER = 30.0


@pytest.fixture
def threads(monkeypatch):
    """Threads of which the system gives none any more once ``scarce`` is set."""
    scarce = threading.Event()
    start = threading.Thread.start

    def started(self):
        if scarce.is_set() and self.name.startswith("call"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", started)
    made = CallThreads("call", 3)
    made.scarce = scarce
    yield made
    made.close(LATER)


def test_where_there_is_no_thread_whoever_calls_is_told(threads):
    done = threading.Event()
    threads.scarce.set()
    assert not threads.submit(done.set)
    threads.scarce.clear()
    assert threads.submit(lambda: None)
    assert not done.wait(0.1)


def test_where_there_are_too_few_they_do_all_the_work(threads):
    first, second = threading.Event(), threading.Event()
    assert threads.submit(lambda: first.wait(LATER))
    threads.scarce.set()
    assert threads.submit(second.set)
    first.set()
    assert second.wait(LATER)
