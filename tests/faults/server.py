"""The server that is killed, and the process that forks it again.

`python -m faults.server` imports everything once, listens, and then for each line on its
input forks a server that serves the same socket.  What it writes: its port, then for each
server `pid N`, `ready` and `exit CODE`.
"""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from faults import failpoints, world
from faults.agent import AGENTS
from faults.failpoints import AnswerPoints, Plan
from interlock import Engine, Limits
from interlock._clock import SystemClock
from interlock._sqlite import SqliteStore
from interlock._store import Commit
from interlock_adapters.a2a import A2ASettings, a2a_routes
from interlock_adapters.mcp import McpFace, McpSettings, McpTool, Stopping, mcp_server

#: Nothing is refused for its number, and nobody is asked because of the kills.
LIMITS = Limits(open_tasks_per_owner_max=100_000, recoveries_max=100_000, drain_s=5.0, grace_s=3.0)

#: What clients of MCP call; it takes the same steps as a message of A2A.
TOOL: Final = McpTool(
    name="work",
    description="Does the steps that it is told.",
    input={
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"type": "object"}}},
        "required": ["steps"],
    },
)

#: Bugs that can be planted.
MUTANTS = ("answer_early", "call_twice")


class Life(NamedTuple):
    """How one server lives."""

    directory: str
    #: Of `AGENTS`.
    agent: str
    plan: Plan = Plan()
    #: Seconds by which its clock is wrong.
    clock_s: float = 0.0
    #: One of `MUTANTS`, or "".
    mutant: str = ""
    #: None parks never, 0 at once.
    park_after_s: float | None = 0.05


class SkewedClock(SystemClock):
    """A clock that is wrong."""

    def __init__(self, by_s: float) -> None:
        self._by_s = by_s

    def now(self) -> float:
        """Seconds since 1970, or so it says."""
        return super().now() + self._by_s


class EarlyStore(SqliteStore):
    """A planted bug: says that a commit is durable, and writes it a little later."""

    async def commit(self, commit: Commit) -> None:
        """Not what `Store.commit` promises."""
        self._late = asyncio.create_task(self._write_later(commit))

    async def _write_later(self, commit: Commit) -> None:
        await asyncio.sleep(0.02)
        await super().commit(commit)


def store_of(life: Life) -> SqliteStore:
    """Its store."""
    kind = EarlyStore if life.mutant == "answer_early" else SqliteStore
    return kind(Path(life.directory) / "tasks.db")


def serve(life: Life, listener: socket.socket) -> None:
    """Serve until killed, or told to stop."""
    directory = Path(life.directory)
    logging.basicConfig(filename=directory / "server.log", format="%(process)d %(message)s")
    world.settle(directory / "world.jsonl")
    failpoints.follow(life.plan)
    if life.mutant == "call_twice":
        failpoints.forget_doubts()
    engine = Engine(
        AGENTS[life.agent],
        store=store_of(life),
        limits=LIMITS.model_copy(update={"park_after_s": life.park_after_s}),
        clock=SkewedClock(life.clock_s),
    )
    config = uvicorn.Config(
        app_of(engine), log_config=None, log_level="warning", timeout_graceful_shutdown=5
    )
    server = _Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


def app_of(engine: Engine) -> Starlette:
    """Both faces of one engine, which stop together."""
    stopping = Stopping()
    cards = A2ASettings(name="faults", description="Is killed.", rpc_path="/rpc")
    settings = McpSettings(name="faults", tools=(TOOL,), poll_s=0.03)
    face = McpFace(mcp_server(engine, settings, stopping=stopping), settings, stopping=stopping)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine, face.serving():
            yield

    return Starlette(
        routes=[*face.routes, *a2a_routes(engine, cards, stopping=stopping)],
        middleware=[Middleware(AnswerPoints), *face.middleware],
        lifespan=lifespan,
    )


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _tell("ready")


def _tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def main() -> None:
    """Fork a server for each line of the input."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    _tell(f"port {listener.getsockname()[1]}")
    for line in sys.stdin:
        life = Life(*json.loads(line))
        life = life._replace(plan=Plan(*life.plan))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                serve(life, listener)
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            finally:
                logging.shutdown()
                os._exit(code)
        _tell(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        _tell(f"exit {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
