"""The peer's half of `bench.peer`: agent-runtime-sdk with its defaults, in its own environment.

    .venv-peer/bin/python -m bench.peer_ars [MCP_URL]

Without a URL its one MCP server is disabled (it must have one) and the tools are its plugin's.
"""

import importlib
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from smolagents import Tool, tool  # type: ignore[import-untyped]  # it has no types

from bench.peer_script import ScriptedModel, look_up, nap, pay
from bench.peer_serve import serve

PACKAGES: Final = (
    "agent-runtime-sdk",
    "a2a-sdk",
    "smolagents",
    "mcp",
    "mcpadapt",
    "starlette",
    "uvicorn",
)


class LocalTools:
    """A plugin that brings the tools; its base class is the peer's and does nothing."""

    def __init__(self, base: Any) -> None:  # noqa: ANN401  of a package that we do not have
        self._base = base
        # Once, not for every task: to make a tool of a function takes a while.
        self._tools = [tool(function) for function in (look_up, pay, nap)]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Every hook but one."""
        return getattr(self._base, name)

    def extra_tools(self, _definition: object) -> list[Tool]:
        """The same functions that our half has."""
        return self._tools


@asynccontextmanager
async def _served(port: int) -> AsyncGenerator[Any]:
    # Only in the peer's environment is there such a package.
    peer: Any = importlib.import_module("agent_runtime")
    registry: Any = importlib.import_module("agent_runtime.model_registry")
    plugins: Any = importlib.import_module("agent_runtime.plugins")
    registry.ModelRegistry.register("scripted", ScriptedModel)
    url = "".join(sys.argv[1:])
    builder = peer.AgentBuilder()
    builder.model(provider="scripted", model_id="scripted", api_base="-", api_key="-")
    builder.agent_info(agent_id="bench", name="bench", description="Does what it is told.")
    builder.add_mcp(name="bench", url=url or "http://127.0.0.1:9/mcp", enabled=bool(url))
    builder.tool_policy("pay", requires_confirmation=True)
    base = plugins.BaseAgentPlugin()
    builder.plugin(base if url else LocalTools(base))
    yield builder.build_a2a_app(public_url=f"http://127.0.0.1:{port}", enable_management=False)


if __name__ == "__main__":
    os.environ["MCP_AGENT_LANGFUSE_ENABLED"] = "false"
    serve(_served, *PACKAGES)
