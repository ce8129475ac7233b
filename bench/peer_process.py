"""The servers of `bench.peer`: either half, and the MCP server that both are given.

A server is asked to end, and killed by its process id if it does not: the peer keeps a
thread for each task that waits, and these keep the process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from bench._place import ARS, ROOT

#: What its wrappers cost is not what is compared.
ENVIRONMENT: Final = {"OTEL_INSTRUMENTATION_A2A_SDK_ENABLED": "false"}
PATIENCE_S: Final = 5.0


class Held(NamedTuple):
    """What a process holds."""

    threads: int
    rss_mb: float
    files: int


class Server:
    """A module of this folder as a process; ends with the block."""

    def __init__(self, python: Path | str, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", f"bench.{module}", *arguments],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise RuntimeError(f"{module} did not start; run it by hand to see why")
        ready = json.loads(line)
        self.port: Final[int] = ready["port"]
        self.versions: Final[dict[str, str]] = ready["versions"]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        """CPU seconds of all its threads, those that ended included, user and system."""
        # Linux: the clock id of a process, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def held(self) -> Held:
        """What it holds now, its garbage included: what an operator sees."""
        process = Path(f"/proc/{self._process.pid}")
        pages = int((process / "statm").read_text(encoding="ascii").split()[1])
        return Held(
            len(list((process / "task").iterdir())),
            pages * os.sysconf("SC_PAGESIZE") / 1e6,
            len(list((process / "fd").iterdir())),
        )


class Arm(NamedTuple):
    """One half, with its tools in the process or on the MCP server."""

    half: str
    mcp: bool

    @property
    def name(self) -> str:
        """As the table heads its column."""
        return f"{self.half}, MCP" if self.mcp else self.half


PEER: Final = "agent-runtime-sdk"
OURS: Final = "Interlock"
ARMS: Final = tuple(Arm(half, mcp) for mcp in (False, True) for half in (PEER, OURS))


@contextmanager
def running(arm: Arm, database: str) -> Generator[Server]:
    """A fresh server of the arm, and a fresh MCP server if it has one."""
    if not arm.mcp:
        with _half(arm, database, "") as server:
            yield server
        return
    with Server(sys.executable, "peer_mcp") as tools:
        url = f"http://127.0.0.1:{tools.port}/mcp"
        with _half(arm, database, url) as server:
            yield server


def _half(arm: Arm, database: str, url: str) -> Server:
    if arm.half == PEER:
        return Server(ARS.python(), "peer_ars", url)
    return Server(sys.executable, "peer_interlock", database, url)
