"""A server for the stdio tests: `python stdio_server.py [file to note things in]`."""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

server = MCPServer("stdio", log_level="CRITICAL")


class City(BaseModel):
    """Where to go."""

    city: str


def note(what: str) -> None:
    """Tell the test."""
    with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
        file.write(what + "\n")


@server.tool()
def process() -> int:
    """The process that serves."""
    return os.getpid()


@server.tool()
def die() -> str:
    """Goes without a word."""
    os._exit(3)


@server.tool()
async def hang() -> str:
    """Never ends by itself."""
    note("hanging")
    try:
        await asyncio.Event().wait()
    finally:
        note("cancelled")
    return "never"


@server.tool()
async def book(ctx: Context) -> str:
    """Asks for a city."""
    answer = await ctx.elicit("Which city?", City)
    return f"{answer.action}" + (f":{answer.data.city}" if answer.action == "accept" else "")


if __name__ == "__main__":
    server.run("stdio")
