"""An arm as a process, and how a part is done with it."""

import asyncio
import importlib
import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self

import uvloop

from bench._place import ROOT
from bench.compare import parts
from bench.compare.plan import A2A, EMBEDDED, MEMORY, Arm
from bench.peer_process import Server

#: A peer that does not end when it is asked to is killed.
PATIENCE_S: Final = 5.0
_WIRES: Final = {A2A: "wire_a2a"}


class Running(Protocol):
    """A process of an arm; it ends with the block."""

    versions: dict[str, str]
    #: From the start of the process until it was ready.
    started_s: float

    def __enter__(self) -> Self:
        """Itself."""
        ...

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        ...

    def do(self, part: str, **settings: Any) -> dict[str, Any]:  # noqa: ANN401  as the part has it
        """What was found; see `bench.compare.parts`."""
        ...

    def kill(self) -> None:
        """Ends it as a crash would."""
        ...


class Embedded:
    """Peer and measuring in one process: `bench.compare.embedded`."""

    def __init__(self, arm: Arm, database: str) -> None:
        began = time.perf_counter()
        module = arm.module.removeprefix("compare.")
        self._arm: Final = arm
        self._process = subprocess.Popen(
            [arm.python(), "-W", "ignore", "-m", "bench.compare.embedded", module, database],
            cwd=ROOT,
            env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.versions: dict[str, str] = self._line()["versions"]
        self.started_s = time.perf_counter() - began

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def do(self, part: str, **settings: Any) -> dict[str, Any]:  # noqa: ANN401  as the part has it
        """See `Running.do`.

        Raises:
            RuntimeError: the peer did not do it.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"part": part, **settings}) + "\n")
        self._process.stdin.flush()
        found = self._line()
        if "error" in found:
            raise RuntimeError(f"{self._arm.name}: {found['error']}")
        return found

    def kill(self) -> None:
        """See `Running.kill`."""
        self._process.kill()
        self._process.wait()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._arm.name} ended; run it by hand to see why")
        found: dict[str, Any] = json.loads(line)
        return found


class Served:
    """A server in a process of its own, and its client in this one."""

    def __init__(self, arm: Arm, database: str) -> None:
        began = time.perf_counter()
        arguments = [argument.format(database) for argument in arm.arguments]
        self._server: Final = Server(arm.python(), arm.module, *arguments)
        self.versions: dict[str, str] = self._server.versions
        self.started_s = time.perf_counter() - began
        wire: Any = importlib.import_module(f"bench.compare.{_WIRES.get(arm.kind, 'wire_mcp')}")
        self._peer: Final = wire.Wire(self._server.port, arm.path)
        self._probe: Final = parts.Probe(self._server.pid)
        self._runner: Final = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._name: Final = arm.name

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self._runner.close()
        self._server.__exit__()

    def do(self, part: str, **settings: Any) -> dict[str, Any]:  # noqa: ANN401  as the part has it
        """See `Running.do`.

        Raises:
            RuntimeError: the peer did not do it.
        """
        try:
            return self._runner.run(parts.done(self._peer, self._probe, part, settings))
        except Exception as error:
            raise RuntimeError(f"{self._name}: {type(error).__name__}: {error}") from error

    def kill(self) -> None:
        """See `Running.kill`."""
        self._server.kill()


def running(arm: Arm, folder: str, name: str) -> Running:
    """A fresh process of the arm, on that database if it has one."""
    database = str(Path(folder, f"{arm.name.replace(', ', '-').replace(' ', '-')}-{name}.db"))
    if arm.kind == EMBEDDED:
        return Embedded(arm, database if arm.durable else MEMORY)
    return Served(arm, database)
