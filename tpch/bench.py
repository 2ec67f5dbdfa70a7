"""Power and throughput: the 22 queries one after the other, or in several streams at once."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from msgspec import structs

from starling_py.tpch.compare import difference
from starling_py.tpch.parameters import draw, substituted
from starling_py.tpch.texts import ordering, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starling_py.tpch.engines import Engine, Executed
    from starling_py.tpch.measurements import Execution

__all__ = ["permutation", "power", "query_text", "throughput"]

_SLICE_SECONDS = 0.2


def query_text(number: int, seed: int | None, stream: int = 0, scale: float = 1.0) -> str:
    """Return the text of a query, with validation's parameters or with drawn ones."""
    if seed is None:
        return text(number)
    return substituted(number, draw(number, seed, stream, scale))


def permutation(queries: Sequence[int], seed: int, stream: int) -> tuple[int, ...]:
    """Return the order in which a stream runs the queries; each has one of its own."""
    order = list(queries)
    random.Random(f"order/{seed}/{stream}").shuffle(order)  # noqa: S311 - no secret
    return tuple(order)


def power(
    engines: Sequence[Engine],
    queries: Sequence[int],
    *,
    warm_up: int,
    repeat: int,
    seed: int | None = None,
) -> Iterator[tuple[Execution, ...]]:
    """Run each query ``warm_up`` and then ``repeat`` times and yield its executions.

    Several engines take turns, and take turns to be first. Of a query's first turn the answers
    are compared with those of the last engine, which is the reference.
    """
    begun = time.perf_counter()
    scale = engines[0].scale() if seed is not None else 1.0
    for query in queries:
        sql = query_text(query, seed, scale=scale)
        executions: list[Execution] = []
        for turn in range(warm_up + repeat):
            order = list(engines) if (query + turn) % 2 else list(reversed(engines))
            began = {}
            executed = {}
            for engine in order:
                began[engine.name] = time.perf_counter() - begun
                executed[engine.name] = engine.execute(query, sql)
            reference = executed[engines[-1].name]
            for engine in engines:
                each = executed[engine.name]
                unlike = ""
                if turn == 0 and each is not reference:
                    unlike = _difference(sql, reference, each, engines[-1])
                executions.append(
                    structs.replace(
                        each.execution,
                        began=began[engine.name],
                        warm_up=turn < warm_up,
                        difference=unlike,
                    )
                )
        yield tuple(executions)


def throughput(
    engine: Engine,
    queries: Sequence[int],
    streams: int,
    *,
    seed: int | None = None,
    done: Callable[[Execution], None] = lambda _: None,
) -> tuple[Execution, ...]:
    """Run ``streams`` streams at once, each with all queries in an order of its own.

    Parameters
    ----------
    seed
        Of the orders and, if it is given, of the parameters.
    done
        Told of each execution, by the thread of its stream.
    """
    scale = engine.scale() if seed is not None else 1.0
    stopped = threading.Event()
    begun = time.perf_counter()

    def run(stream: int) -> list[Execution]:
        executions = []
        for query in permutation(queries, seed or 0, stream):
            if stopped.is_set():
                break
            sql = query_text(query, seed, stream, scale)
            began = time.perf_counter() - begun
            execution = structs.replace(
                engine.execute(query, sql).execution, stream=stream, began=began
            )
            executions.append(execution)
            done(execution)
        return executions

    with ThreadPoolExecutor(streams, thread_name_prefix="stream") as pool:
        futures = [pool.submit(run, stream) for stream in range(1, streams + 1)]
        try:
            # In slices, so that Ctrl-C is noticed.
            while wait(futures, _SLICE_SECONDS, FIRST_EXCEPTION).not_done:
                if any(future.done() and future.exception() for future in futures):
                    break
        except BaseException:
            stopped.set()
            engine.close()
            raise
        stopped.set()
        return tuple(execution for future in futures for execution in future.result())


def _difference(sql: str, reference: Executed, executed: Executed, engine: Engine) -> str:
    expected, found = reference.answer, executed.answer
    if expected is None or found is None:
        return ""
    order = ordering(sql, expected.names)
    unlike = difference(
        expected,
        found,
        order=order.columns,
        limit=order.limit,
        unlimited=lambda: engine.execute(0, order.unlimited).answer or expected,
    )
    return unlike or ""
