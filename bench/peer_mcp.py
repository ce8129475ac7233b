"""The MCP server of `bench.peer`, the same program for both halves; it speaks both eras.

python -m bench.peer_mcp
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer

from bench import peer_script
from bench.peer_serve import serve

server = MCPServer("bench", log_level="CRITICAL")


@server.tool()
async def look_up(city: str) -> str:
    """Looks up the weather of a city."""
    return peer_script.look_up(city)


@server.tool()
async def pay(amount: int, to: str) -> str:
    """Pays somebody an amount."""
    return peer_script.pay(amount, to)


@server.tool()
async def nap(seconds: float) -> str:
    """Does nothing for so many seconds."""
    await asyncio.sleep(seconds)
    return "rested"


@asynccontextmanager
async def _served(_port: int) -> AsyncGenerator[Any]:
    yield server.streamable_http_app()


if __name__ == "__main__":
    serve(_served, "mcp")
