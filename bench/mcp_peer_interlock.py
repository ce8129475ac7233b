"""Our half of `bench.mcp`: an engine over a SQLite file, as an MCP server.

    python -m bench.mcp_peer_interlock DATABASE

DATABASE is a path, or `memory:` for what the engine and the face cost without a disk.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from pydantic import BaseModel

from bench.peer_serve import serve
from interlock import Engine, Limits, TaskContext
from interlock_adapters.mcp import McpSettings, McpTool, mcp_app
from interlock_adapters.server import gc_tuned

PACKAGES: Final = ("mcp", "pydantic", "starlette", "uvicorn")
MEMORY: Final = "memory:"
#: There is one caller, and many tasks that wait in `bench.compare`.
LIMITS: Final = Limits(open_tasks_per_owner_max=1_000_000)


class Numbers(BaseModel):
    """What is added."""

    a: int
    b: int


class Nothing(BaseModel):
    """A tool without arguments."""


async def add(task: TaskContext) -> int:
    """Add two numbers."""
    data = cast("dict[str, int]", task.input.data)
    return data["a"] + data["b"]


async def hold(_task: TaskContext) -> int:
    """Go on until it is cancelled."""
    await asyncio.Event().wait()
    return 0


class City(BaseModel):
    """What is asked for."""

    city: str


async def ask(task: TaskContext) -> str:
    """Ask which city."""
    return (await task.ask("Which city?", City)).city


TOOLS: Final = (
    McpTool(name="add", agent="add", description="Add two numbers.", input=Numbers, output=int),
    McpTool(name="hold", agent="hold", description="Go on.", input=Nothing, output=int),
    McpTool(name="ask", agent="ask", description="Ask.", input=Nothing, output=str),
)


@asynccontextmanager
async def _served(port: int) -> AsyncGenerator[Any]:
    _, database = sys.argv
    store = database if database == MEMORY else f"sqlite:///{database}"
    engine = Engine({"add": add, "hold": hold, "ask": ask}, store=store, limits=LIMITS)
    settings = McpSettings(name="bench", tools=TOOLS, url=f"http://127.0.0.1:{port}")
    with gc_tuned():  # As our own `serve` does.
        yield mcp_app(engine, settings)


if __name__ == "__main__":
    serve(_served, *PACKAGES)
