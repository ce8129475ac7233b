"""A face for the stdio test: `python stdio_face.py database`."""

import asyncio
import sys

from interlock import Engine, TaskContext
from interlock_adapters.mcp import McpSettings, serve_stdio


async def greets(task: TaskContext) -> str:
    """Greet somebody."""
    return f"hello {await task.ask('Who?', str, key='who')}"


if __name__ == "__main__":
    engine = Engine(greets, store=f"sqlite:///{sys.argv[1]}")
    asyncio.run(serve_stdio(engine, McpSettings(name="Pipes")))
