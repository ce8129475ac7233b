"""The peer's half of `bench.mcp`: fastmcp-tasks with its defaults, over its memory backend.

    python -m bench.mcp_peer_fastmcp

Runs in the peer's environment (`bench._place`), and imports nothing of ours but the
server that both halves run under.  Its logs are off: they go to a console that is not there.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types

from bench.peer_serve import serve

# It is in the peer's environment only, where nothing checks types.
FastMCP: Final = importlib.import_module("fastmcp").FastMCP
Context: Final = importlib.import_module("fastmcp").Context
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


async def ask(ctx: Any) -> str | mcp_types.InputRequiredResult:  # noqa: ANN401  as above
    """Ask which city."""
    replies: dict[str, Any] = ctx.input_responses or {}
    if "city" in replies:
        return str(replies["city"].content["city"])
    schema: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
    params = mcp_types.ElicitRequestFormParams(message="Which city?", requested_schema=schema)
    asked = mcp_types.ElicitRequest(params=params)
    return mcp_types.InputRequiredResult(input_requests={"city": asked})


# By its type the server knows that it is no argument.
ask.__annotations__["ctx"] = Context


@asynccontextmanager
async def _served(_port: int) -> AsyncGenerator[Any]:
    logging.disable(logging.WARNING)
    server = FastMCP("bench")
    server.add_extension(TasksExtension(url="memory://"))
    functions: tuple[Any, ...] = (add, hold, ask)
    for function in functions:
        server.tool(task=True)(function)
    yield server.http_app()


if __name__ == "__main__":
    serve(_served, *PACKAGES)
