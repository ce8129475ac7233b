"""One round: a server on one file, clients, and one kill after another; then the audit."""

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

from faults.audit import audit_directory
from faults.client import Client
from faults.evidence import Finding
from faults.failpoints import POINTS, Plan
from faults.mcp_client import McpClient
from faults.server import Life

CLIENTS: Final = 6
#: Every third of them speaks MCP.
MCP_EVERY: Final = 3
#: Seconds for anything that a server does, on a disk that is busy with other things: to come up,
#: and half of it to stop.
SERVER_S: Final = 120.0


class Trouble(Exception):
    """A server did not do what it must."""


@dataclasses.dataclass
class Tally:
    """What a round came to."""

    kills: Counter[str] = dataclasses.field(default_factory=Counter[str])
    tasks: int = 0
    findings: list[Finding] = dataclasses.field(default_factory=list[Finding])
    figures: Counter[str] = dataclasses.field(default_factory=Counter[str])


class Server:
    """The process that forks servers, and the server of now."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"
        self.pid = 0

    async def start(self, life: tuple[Any, ...]) -> None:
        """Fork a server; it may not be ready yet."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(life).encode() + b"\n")
        self.pid = int((await self._line()).removeprefix("pid "))

    async def ready(self) -> bool:
        """Wait until it serves; False if it died before."""
        return await self._line() == "ready"

    async def ended(self) -> int:
        """Wait until it has ended; its code, negative for a signal."""
        while not (line := await self._line()).startswith("exit "):
            pass
        self.pid = 0
        return int(line.removeprefix("exit "))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has just ended by itself."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)

    async def _line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(SERVER_S):
            line = await self._process.stdout.readline()
        if not line:
            raise Trouble("the process that forks servers is gone")
        return line.decode().strip()


@contextlib.asynccontextmanager
async def forker(module: str = "faults.server") -> AsyncGenerator[Server]:
    """The process that forks servers, for as long as a block lasts; `module` is what it runs."""
    environment = {
        **os.environ,
        "OTEL_INSTRUMENTATION_A2A_SDK_ENABLED": "false",
        # It finds what this process finds, however that was told where to look.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    said = await process.stdout.readline()
    if not said.startswith(b"port "):
        raise Trouble("the process that forks servers did not start")
    server = Server(process, int(said.removeprefix(b"port ")))
    try:
        yield server
    finally:
        if server.pid:
            server.kill()
        process.stdin.close()
        await process.wait()


def plan_of(dice: random.Random) -> tuple[Plan, float]:
    """Where the next server dies, and after how many seconds at the latest."""
    if dice.random() < 0.4:
        # Some of them while it is still coming up.
        return Plan(), dice.choice([0.0, 0.05]) + dice.random() * 0.5
    point = dice.choice(POINTS)
    nth = dice.randint(1, 3) if "checkpoint" in point else dice.randint(1, 40)
    return Plan(point, nth, after_us=dice.randint(0, dice.choice([300, 3_000]))), 0.8


class Loading:
    """Clients at work, until they are told to finish what they have."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.errands: list[asyncio.Task[None]] = []
        self._on = True

    def goes_on(self) -> bool:
        """Whether clients are to begin another task."""
        return self._on

    async def end(self) -> None:
        """Wait until every task that was begun has ended."""
        self._on = False
        await asyncio.wait(self.errands)


@contextlib.asynccontextmanager
async def loaded(
    server: Server, directory: Path, seed: str
) -> AsyncGenerator[tuple[Tally, Loading]]:
    """Load, for as long as a block lasts; then the audit fills the tally."""
    tally, loading = Tally(), Loading()
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            kind = McpClient if number % MCP_EVERY == MCP_EVERY - 1 else Client
            client = kind(number, seed, server.url, directory / f"client-{number}.jsonl")
            loading.clients.append(client)
            loading.errands.append(group.create_task(client.run(loading.goes_on)))
        yield tally, loading
    tally.tasks = sum(client.tasks for client in loading.clients)
    report = await asyncio.to_thread(audit_directory, directory)
    tally.findings += report.findings
    tally.figures += report.figures


async def round_of(server: Server, directory: Path, seed: str, kills: int, life: Life) -> Tally:
    """Kill `kills` servers under load, let everything end, and audit."""
    dice = random.Random(seed)  # noqa: S311  it must be repeatable
    async with loaded(server, directory, seed) as (tally, loading):
        for _ in range(kills):
            plan, within_s = plan_of(dice)
            tally.kills[await _kill(server, life._replace(plan=plan), within_s)] += 1
        await server.start(life)
        if not await server.ready():
            raise Trouble("the last server did not come up")
        await loading.end()
        await stop(server)
    return tally


async def _kill(server: Server, life: Life, within_s: float) -> str:
    """One life and its end; what kind of end it was."""
    await server.start(life)
    ended = asyncio.create_task(server.ended())
    done, _ = await asyncio.wait([ended], timeout=within_s)
    if not done:
        server.kill()
    code = await ended
    if code != -signal.SIGKILL:
        raise Trouble(f"a server ended by itself, with {code}")
    return life.plan.point if done else "at random"


async def stop(server: Server) -> None:
    """Stop it as an operator does; it must drain."""
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    code = await server.ended()
    if code not in {0, -signal.SIGTERM}:
        raise Trouble(f"a server that was told to stop ended with {code}")
    if time.monotonic() - began > SERVER_S / 2:
        raise Trouble("a server took too long to stop")
