"""The peer's half of `bench.mcp`: fastmcp-tasks with its defaults, over its memory backend.

    python -m bench.mcp_peer_fastmcp

Runs in the peer's environment (`bench.mcp_peer_place`), and imports nothing of ours but the
server that both halves run under.  Its logs are off: they go to a console that is not there.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from bench.peer_serve import serve

# It is in the peer's environment only, where nothing checks types.
FastMCP: Final = importlib.import_module("fastmcp").FastMCP
TasksExtension: Final = importlib.import_module("fastmcp_tasks").TasksExtension

PACKAGES: Final = (
    "fastmcp",
    "fastmcp-tasks",
    "pydocket",
    "mcp",
    "pydantic",
    "starlette",
    "uvicorn",
)


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def hold() -> int:
    """Go on until it is cancelled."""
    await asyncio.Event().wait()
    return 0


@asynccontextmanager
async def _served(_port: int) -> AsyncGenerator[Any]:
    logging.disable(logging.WARNING)
    server = FastMCP("bench")
    server.add_extension(TasksExtension(url="memory://"))
    for function in (add, hold):
        server.tool(task=True)(function)
    yield server.http_app()


if __name__ == "__main__":
    serve(_served, *PACKAGES)
