"""A local Lambda: functions, their API, and everything that has to end with them."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.catalog.errors import UsageError
from starling_py.local_lambda.api import Api
from starling_py.local_lambda.code import prepare
from starling_py.local_lambda.function import LocalFunction
from starling_py.local_lambda.http import Listener
from starling_py.local_lambda.settings import Faults, FunctionSettings, Limits, Service
from starling_py.local_lambda.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starling_py.local_lambda.settings import Statistics

__all__ = ["LocalLambda"]

_START_SECONDS = 30.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class LocalLambda:
    """Serves functions on the loopback from a thread of its own, from ``with`` to its end.

    Parameters
    ----------
    port
        0 is any free one.
    folder
        Where a private folder is made for instances; by default that of temporary files.

    Raises
    ------
    UsageError
        If the runtime client is not installed, or a bundle or the port is not to be had.
    """

    def __init__(
        self,
        functions: Sequence[FunctionSettings] = (FunctionSettings(),),
        *,
        limits: Limits | None = None,
        faults: Faults | None = None,
        port: int = 0,
        region: str = "us-east-1",
        folder: Path | None = None,
    ) -> None:
        self._settings = tuple(functions)
        self._limits = limits or Limits()
        self._faults = faults or Faults()
        self._service = Service(region, port)
        self._parent = folder
        self._functions: dict[str, LocalFunction] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._watcher: Watcher | None = None
        self._thread = threading.Thread(target=self._run, name="local-lambda", daemon=True)

    @property
    def endpoint(self) -> str:
        """The URL of the service."""
        return self._service.endpoint

    def statistics(self, name: str = "starling-worker") -> Statistics:
        """Return what has happened to a function so far."""
        return self._functions[name].snapshot()

    def processes(self) -> tuple[int, ...]:
        """Return the numbers of the processes of all instances."""
        return tuple(instance.pid for one in self._functions.values() for instance in one.instances)

    def __enter__(self) -> LocalLambda:
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise UsageError("the local Lambda does not start")
        if self._failure is not None:
            self._thread.join(_STOP_SECONDS)
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the start
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        root = Path(tempfile.mkdtemp(prefix="starling-lambda-", dir=self._parent))
        self._watcher = Watcher(root)
        api = Api(self._functions, self._limits, self._faults, self._service)
        listener = Listener(api.answer, self._limits.request_bytes)
        looking: asyncio.Task[None] | None = None
        try:
            for number, settings in enumerate(self._settings):
                self._functions[settings.name] = self._function(settings, root / str(number))
            try:
                self._service.port = await listener.start(self._service.port)
            except OSError as error:
                raise UsageError(
                    f"port {self._service.port} is not to be had: {error.strerror}"
                ) from error
            looking = self._loop.create_task(self._look())
            self._started.set()
            await self._stop.wait()
        finally:
            if looking is not None:
                looking.cancel()
            await listener.close()
            await api.close()
            await asyncio.gather(*(one.close() for one in self._functions.values()))
            self._watcher.watch(())
            await asyncio.to_thread(self._watcher.close)

    def _function(self, settings: FunctionSettings, folder: Path) -> LocalFunction:
        folder.mkdir()
        (folder / "code").mkdir()
        return LocalFunction(
            settings,
            self._limits,
            self._faults,
            code=prepare(settings.bundle, folder / "code"),
            folder=folder,
            service=self._service,
            changed=self._tell,
        )

    def _tell(self) -> None:
        if self._watcher is not None:
            self._watcher.watch(self.processes())

    async def _look(self) -> None:
        while True:
            for function in self._functions.values():
                for instance in function.instances:
                    if instance.alive:
                        instance.look_at_memory()
            await asyncio.sleep(_LOOK_SECONDS)
