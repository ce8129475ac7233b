"""Our half of `bench.peer`: Interlock with its defaults over a SQLite file.

python -m bench.peer_interlock DATABASE [MCP_URL]
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from smolagents import ToolCallingAgent  # type: ignore[import-untyped]  # it has no types

from bench.peer_script import ScriptedModel, look_up, nap, pay
from bench.peer_serve import serve
from interlock import Engine, Policies, Policy, Toolbox
from interlock_adapters.a2a import A2ASettings, a2a_app
from interlock_adapters.mcp_tools import McpServer
from interlock_adapters.smolagents import SmolAgent

PACKAGES: Final = ("interlock", "a2a-sdk", "smolagents", "mcp", "starlette", "uvicorn")


def made(_task: object, tools: list[Any]) -> Any:  # noqa: ANN401  smolagents has no types
    """A new agent, as SmolAgent wants one for every run."""
    return ToolCallingAgent(tools=tools, model=ScriptedModel())


@asynccontextmanager
async def _served(port: int) -> AsyncGenerator[Any]:
    database, *urls = sys.argv[1:]
    url = "".join(urls)
    tools = Toolbox(
        [McpServer("bench", url=url)] if url else [look_up, pay, nap],
        policies=Policies({"pay": Policy(confirm="always")}),
    )
    engine = Engine(SmolAgent(made), store=f"sqlite:///{database}", tools=tools)
    settings = A2ASettings(
        name="bench",
        description="Does what it is told.",
        url=f"http://127.0.0.1:{port}",
        rpc_path="/",
    )
    yield a2a_app(engine, settings)


if __name__ == "__main__":
    serve(_served, *PACKAGES)
