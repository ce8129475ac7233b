"""The processes of a bench: a server and the CPU time that it has used, or one part of it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Self, TypeVar

import uvloop

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[1]
#: What its wrappers cost is not what is compared.
ENVIRONMENT: Final = {"OTEL_INSTRUMENTATION_A2A_SDK_ENABLED": "false"}


class ServerProcess:
    """`bench._server`, or another module, in a process of its own; ends with the block."""

    def __init__(self, arm: str, database: str = "", *, module: str = "bench._server") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, arm, database],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline() or "0")
        if not self.port:
            raise RuntimeError(f"{arm} did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu_s(self) -> float:
        """CPU seconds of all its threads, those that ended included, user and system."""
        # Linux: the clock id of a process, as clock_getcpuclockid(3) makes it.  /proc counts
        # in hundredths of a second, which is too coarse here.
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def resident_mb(self) -> float:
        """What it holds now, in MB of a million bytes."""
        statm = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii")
        return int(statm.split()[1]) * 4096 / 1e6


def in_process(part: Callable[[], Awaitable[T]]) -> T:
    """Run the part in a fresh process, which is killed once it has said what it found."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_run, args=(theirs, part))
    process.start()
    theirs.close()
    try:
        found: T = ours.recv()
    finally:
        process.join()
    return found


def _run(found: Connection, part: Callable[[], Awaitable[object]]) -> None:
    async def run() -> None:
        found.send(await part())
        # Now, while an engine that was left open still is.
        os.kill(os.getpid(), signal.SIGKILL)

    uvloop.run(run())
