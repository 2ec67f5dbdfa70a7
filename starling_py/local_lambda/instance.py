"""One instance of a function: a process of the runtime client, and the API that it speaks to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starling_py.local_lambda.endings import Ended, exited, timed_out, too_large
from starling_py.local_lambda.http import Listener, Request, Response

if TYPE_CHECKING:
    from starling_py.local_lambda.code import Code
    from starling_py.local_lambda.settings import FunctionSettings, Limits

__all__ = ["ACCOUNT", "Instance"]

ACCOUNT = "000000000000"
"""The account that owns all functions here."""

_T = TypeVar("_T")
_API = "/2018-06-01/runtime"
_LOG_TAIL = 4096
_LOG_SECONDS = 0.02
_STOP_SECONDS = 10.0
_ACCEPTED = Response(202, b'{"status":"OK"}', {"Content-Type": "application/json"})


class _Call:
    def __init__(self, request: str, payload: bytes, seconds: float) -> None:
        self.request = request
        self.payload = payload
        self.deadline = time.time() + seconds
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def end(self, how: Ended) -> None:
        if not self.ended.done():
            self.ended.set_result(how)


class Instance:
    """Runs one call at a time. All methods are for one event loop.

    Parameters
    ----------
    folder
        Its own; stands for Lambda's /tmp.
    """

    def __init__(
        self, settings: FunctionSettings, limits: Limits, code: Code, folder: Path, region: str
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._code = code
        self._folder = folder
        self._region = region
        self._listener = Listener(self._answer, limits.response_bytes)
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._log: deque[bytes] = deque(maxlen=256)
        self._ready: asyncio.Future[Ended | None] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.Future[_Call] | None = None
        self._call: _Call | None = None
        self.most_memory = 0

    @property
    def pid(self) -> int:
        """The number of the process, which is that of its group."""
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process; it is ready some time later."""
        self._folder.mkdir(mode=0o700)
        port = await self._listener.start()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._code.options,
            "-m",
            "awslambdaric",
            self._settings.handler,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment(port),
            cwd=self._code.root,
            start_new_session=True,
        )
        self._output = asyncio.get_running_loop().create_task(self._read_output())

    async def ready(self, request: str) -> Ended | None:
        """Wait until the code is loaded; return how that failed, if it did."""
        done = await self._first(self._ready, self._limits.init_seconds)
        if done is None:
            return timed_out(request, self._limits.init_seconds)
        if not done:
            return exited(request, await self._code_of_exit())
        return self._ready.result()

    async def run(self, request: str, payload: bytes) -> Ended:
        """Run a call to its end, whatever that is."""
        seconds = self._settings.timeout
        self._log.clear()
        self._call = call = _Call(request, payload, seconds)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(call)
        done = await self._first(call.ended, seconds)
        self._call = None
        if done is None:
            return timed_out(request, seconds)
        return call.ended.result() if done else exited(request, await self._code_of_exit())

    async def log_tail(self) -> bytes:
        """Return the end of what the process has said during the last call."""
        # What was written before the answer may come after it.
        await asyncio.sleep(_LOG_SECONDS)
        return b"".join(self._log)[-_LOG_TAIL:]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill the process with all its children."""
        if self.alive:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    def look_at_memory(self) -> None:
        """Kill the process if it is larger than it may be."""
        used = _memory(self.pid)
        self.most_memory = max(self.most_memory, used)
        if used > self._settings.memory << 20:
            self.kill()

    async def close(self) -> None:
        """Kill the process and wait for its end."""
        self.kill()
        if self._process is not None:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        if self._output is not None:
            # A child that has left the group may hold the pipe open.
            self._output.cancel()
            await asyncio.gather(self._output, return_exceptions=True)
        await self._listener.close()

    async def _first(self, wanted: asyncio.Future[_T], seconds: float) -> bool | None:
        """Return whether ``wanted`` came before the end of the process; None if neither did."""
        if self._process is None:
            return False
        ended = asyncio.get_running_loop().create_task(self._process.wait())
        both: list[asyncio.Future[Any]] = [wanted, ended]
        try:
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        if wanted.done():
            return True
        return False if not self.alive else None

    async def _code_of_exit(self) -> int:
        return 0 if self._process is None else await self._process.wait()

    async def _answer(self, request: Request) -> Response:
        if request.path == f"{_API}/invocation/next":
            return await self._next()
        if request.path == f"{_API}/init/error":
            self._set_ready(Ended(request.body, failed=True, gone=True))
            return _ACCEPTED
        number, _, kind = request.path.removeprefix(f"{_API}/invocation/").partition("/")
        call = self._call
        if call is None or call.request != number or kind not in ("response", "error"):
            return Response(400, b'{"errorType":"InvalidRequestID"}')
        if request.length > self._limits.response_bytes:
            call.end(too_large(request.length, self._limits.response_bytes))
            return Response(413, b'{"errorType":"RequestEntityTooLarge"}')
        call.end(Ended(request.body, failed=kind == "error"))
        return _ACCEPTED

    async def _next(self) -> Response:
        self._set_ready(None)
        call = self._call
        if call is None or call.ended.done():
            self._waiting = asyncio.get_running_loop().create_future()
            call = await self._waiting
        arn = f"arn:aws:lambda:{self._region}:{ACCOUNT}:function:{self._settings.name}"
        return Response(
            200,
            call.payload,
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": call.request,
                "Lambda-Runtime-Deadline-Ms": str(int(call.deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}",
            },
        )

    def _set_ready(self, failure: Ended | None) -> None:
        if not self._ready.done():
            self._ready.set_result(failure)

    async def _read_output(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        while part := await self._process.stdout.read(_LOG_TAIL):
            self._log.append(part)

    def _environment(self, port: int) -> dict[str, str]:
        name, memory = self._settings.name, self._settings.memory
        day = time.strftime("%Y/%m/%d", time.gmtime())
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return {
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
            "AWS_DEFAULT_REGION": self._region,
            "AWS_REGION": self._region,
            **self._settings.environment,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{day}/[$LATEST]{self._folder.name}",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "LAMBDA_TASK_ROOT": str(self._code.root),
            "LANG": "en_US.UTF-8",
            "PATH": os.defpath,
            "PYTHONPATH": self._code.path,
            "TMPDIR": str(self._folder),
            "TZ": ":UTC",
            "_HANDLER": self._settings.handler,
        }


def _memory(pid: int) -> int:
    """Return a process's bytes of memory without files it has mapped; 0 where unknown."""
    used = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                used += int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return 0
    return used
