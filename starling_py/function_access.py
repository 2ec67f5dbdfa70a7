"""The function that runs the tasks of a connection, opened when it is first needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from starling_py.prices import FunctionSize
from starling_py.worker.size import function_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from starling_py.access import S3Access
    from starling_py.config import Config
    from starling_py.invokers.function_client import FunctionClient

__all__ = ["FunctionAccess"]


class FunctionAccess:
    """What tasks run on, if that is a function. May be used from several threads.

    Parameters
    ----------
    check_open
        Raises when nothing may be opened any more.
    """

    def __init__(self, config: Config, access: S3Access, check_open: Callable[[], None]) -> None:
        self._config = config
        self._access = access
        self._check_open = check_open
        self._lock = threading.Lock()
        self._opened: FunctionClient | None = None

    @property
    def opened(self) -> FunctionClient | None:
        """The function, if it has been opened: planning does that where tasks run in one."""
        return self._opened

    def client(self) -> FunctionClient:
        """Return the function, opened."""
        from starling_py.invokers.function_client import FunctionClient

        with self._lock:
            self._check_open()
            if self._opened is None:
                options = self._access.options
                self._opened = FunctionClient(
                    self._config.function,
                    connections=self._config.workers,
                    region=options.region,
                    profile=options.profile,
                )
            return self._opened

    def resources(self) -> tuple[int, int, int]:
        """Return workers, and the cores and bytes of all of them together."""
        config = self._config
        if config.target == "local":
            return config.workers, config.cores, config.memory
        facts = self.client().facts()
        workers = min(config.workers, facts.concurrency)
        threads = function_threads(facts.memory >> 20)
        return workers, workers * threads, workers * facts.memory

    @property
    def size(self) -> FunctionSize:
        """What tasks run on, or what is deployed unless somebody says otherwise."""
        # Planning has asked the function what it is like; a statement without a plan need not know.
        opened = self._opened
        if opened is None:
            return FunctionSize()
        facts = opened.facts()
        return FunctionSize(facts.memory, facts.architecture)

    def close(self) -> None:
        """Close the connections. Nothing is opened any more."""
        with self._lock:
            opened = self._opened
        if opened is not None:
            opened.close()
