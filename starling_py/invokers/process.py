"""One worker process, seen from its coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from starling_py.operators.errors import OutOfMemory, WorkerDied
from starling_py.operators.quoting import encode_path
from starling_py.operators.task import ScanInput
from starling_py.shuffle.locations import S3Location
from starling_py.worker.messages import (
    LENGTH,
    CancelTask,
    Configure,
    FromWorker,
    Ready,
    Remote,
    Reported,
    RunTask,
    Shutdown,
    ToWorker,
    decode_from_worker,
    frame,
)

if TYPE_CHECKING:
    from starling_py.access import S3Access
    from starling_py.operators.task import TaskReport, TaskSpec
    from starling_py.shuffle.locations import StoreLocation

__all__ = ["WorkerProcess"]

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_MEBIBYTE = 1 << 20
_LOG_TAIL = 400


class WorkerProcess:
    """A process that runs one task at a time, started anew when it is needed and not there.

    All methods are for one event loop, and :meth:`run` for one caller at a time.

    Parameters
    ----------
    size
        Bytes of memory, files mapped not counted, past which the process is killed.
    store
        Where the objects are.
    scratch
        The directory for spilling and for what the process says.
    access
        The ways to S3, asked only when the process needs them.
    """

    def __init__(
        self,
        name: str,
        *,
        size: int,
        store: StoreLocation,
        scratch: Path,
        access: S3Access,
    ) -> None:
        self._name = name
        self._size = size
        self._store = store
        self._access = access
        self._scratch = scratch
        self._log = scratch / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process, if there is one."""
        return None if self._process is None else self._process.pid

    async def run(self, spec: TaskSpec) -> TaskReport:
        """Run a task and return its report.

        When this is cancelled, the task has ended, or the process is gone, before it returns.

        Raises
        ------
        WorkerDied
            If the process cannot be started, or ends before it reports.
        OutOfMemory
            If it was killed because it grew past its size.
        """
        if self._process is None or self._process.poll() is not None:
            self._discard()
            try:
                await asyncio.wait_for(self._start(), _START_SECONDS)
            except TimeoutError as error:
                self._discard()
                raise WorkerDied(
                    f"worker {self._name} was not ready after {_START_SECONDS:.0f} s"
                ) from error
            except (OSError, EOFError) as error:
                await self._gone()
                reason, hint = self._reason(), self._hint()
                self._discard()
                raise WorkerDied(
                    f"worker {self._name} did not start: {reason}", hint=hint
                ) from error
            except asyncio.CancelledError:
                self._discard()
                raise
        answer = asyncio.get_running_loop().create_task(self._ask(spec))
        try:
            return await self._watch(answer)
        except asyncio.CancelledError:
            await self._cancel(spec, answer)
            raise
        except (OSError, EOFError) as error:
            await self._gone()
            reason, hint = self._reason(), self._hint()
            self._discard()
            raise WorkerDied(f"worker {self._name} died: {reason}", hint=hint) from error
        finally:
            answer.cancel()

    async def _ask(self, spec: TaskSpec) -> TaskReport:
        remote = None
        if isinstance(self._store, S3Location) or _scans_remote(spec):
            # Renewing credentials may take a request to somewhere else.
            credentials = await asyncio.to_thread(self._access.credentials)
            remote = Remote(self._access.options, credentials)
        await self._send(RunTask(spec, remote))
        while True:
            message = await self._receive()
            # An earlier attempt's report may come after its cancellation.
            if isinstance(message, Reported) and message.nonce == spec.nonce:
                return message.report

    async def _watch(self, answer: asyncio.Task[TaskReport]) -> TaskReport:
        while not answer.done():
            await asyncio.wait([answer], timeout=_LOOK_SECONDS)
            used = self._memory()
            if used > self._size and not answer.done():
                self._discard()
                raise OutOfMemory(
                    f"worker {self._name} used {used // _MEBIBYTE} MiB of memory, "
                    f"it has {self._size // _MEBIBYTE} MiB",
                    hint="give the workers more memory, or run more tasks",
                )
        return answer.result()

    async def _cancel(self, spec: TaskSpec, answer: asyncio.Task[TaskReport]) -> None:
        await self._tell(CancelTask(spec.nonce))
        await asyncio.wait([answer], timeout=_STOP_SECONDS)
        if not answer.done() or answer.exception() is not None:
            self._discard()

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "starling_py.worker",
                        str(theirs.fileno()),
                        str(self._scratch),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_environment(),
                    cwd=self._scratch,
                    # Ctrl-C goes to the foreground group; workers end when the coordinator says so.
                    start_new_session=True,
                )
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        temp_directory = self._scratch / f"{self._name}-{self._process.pid}"
        await self._send(
            Configure(
                name=self._name,
                store=self._store,
                temp_directory=encode_path(str(temp_directory)),
            )
        )
        if not isinstance(await self._receive(), Ready):
            raise EOFError("the worker's first word is not that it is ready")

    async def _send(self, message: ToWorker) -> None:
        if self._writer is None:
            raise BrokenPipeError("there is no worker")
        self._writer.write(frame(message))
        await self._writer.drain()

    async def _tell(self, message: ToWorker) -> None:
        """Send what the process may be too busy, or too dead, to take."""
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._send(message), _STOP_SECONDS)

    async def _receive(self) -> FromWorker:
        if self._reader is None:
            raise BrokenPipeError("there is no worker")
        (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        return decode_from_worker(await self._reader.readexactly(length))

    def _memory(self) -> int:
        """Return the process's resident bytes without files it has mapped; 0 where unknown."""
        try:
            text = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii")
        except OSError:
            return 0
        _, resident, shared = text.split()[:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")

    async def _gone(self) -> None:
        """Wait for the end of a process that has closed its socket."""
        deadline = time.monotonic() + _STOP_SECONDS
        while self._process is not None and self._process.poll() is None:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_LOOK_SECONDS / 5)

    def _reason(self) -> str:
        code = None if self._process is None else self._process.poll()
        if code is None:
            return "it closed its connection"
        ended = f"exit code {code}"
        if code < 0:
            try:
                ended = signal.Signals(-code).name
            except ValueError:
                ended = f"signal {-code}"
        try:
            tail = self._log.read_text(encoding="utf-8", errors="replace").strip()[-_LOG_TAIL:]
        except OSError:
            tail = ""
        return f"{ended}: {tail}" if tail else ended

    def _hint(self) -> str | None:
        code = None if self._process is None else self._process.poll()
        if code != -signal.SIGKILL:
            return None
        return "the system kills processes when it runs out of memory: give the workers less"

    def _discard(self) -> None:
        """Kill the process, if there is one, and forget it."""
        process, self._process = self._process, None
        writer, self._writer = self._writer, None
        self._reader = None
        if process is not None and process.poll() is None:
            process.kill()
            process.wait(_STOP_SECONDS)
        if writer is not None:
            writer.close()

    async def close(self) -> None:
        """Let the process clean up and end; kill it if that takes too long."""
        if self._process is not None:
            await self._tell(Shutdown())
            await self._gone()
        self._discard()


def _scans_remote(spec: TaskSpec) -> bool:
    scans = [wanted for wanted in spec.inputs if isinstance(wanted, ScanInput)]
    return any(file.etag for scan in scans for file in scan.files)


def _environment() -> dict[str, str]:
    """Return an environment in which the worker imports the same package as its coordinator."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
