"""The server that the conformance suites are run against: `python -m conformance.fixture_server`.

It is a plain server of the SDK to which the agents of an engine are added: what the suites
ask for and an agent can do is an agent.  It serves on a free port of the loopback, says so in
one line, and ends when it is told to.
"""

import argparse
import logging
import socket
import sys
from typing import Any, Final

import mcp_types as wire
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette

from conformance.fixture_agents import AGENTS, TOOLS
from conformance.fixture_rest import Replay, add_rest
from conformance.fixture_tools import Request, Result, plain_tools
from interlock import Engine
from interlock_adapters.mcp import McpSettings, mcp_app
from interlock_adapters.server import serve

_NAME: Final = "interlock-fixture"
#: What a client that is told to wait for a task waits.
_POLL_S: Final = 0.1


def plain_server() -> Server[Any]:
    """What is no agent."""
    bus = InMemorySubscriptionBus()
    tools = plain_tools(bus)

    async def on_list(
        _request: Request, _params: wire.PaginatedRequestParams | None
    ) -> wire.ListToolsResult:
        return wire.ListToolsResult(tools=[tool.listed for tool in tools.values()])

    async def on_call(request: Request, params: wire.CallToolRequestParams) -> Result:
        if (tool := tools.get(params.name)) is None:
            raise MCPError(wire.INVALID_PARAMS, "Unknown tool")
        return await tool.run(request, params)

    server: Server[Any] = Server(
        _NAME,
        version="1.0.0",
        on_list_tools=on_list,
        on_call_tool=on_call,
        on_subscriptions_listen=ListenHandler(bus),
    )
    add_rest(server)
    return server


def fixture(store: str, url: str) -> Starlette:
    """The whole of it, over streamable HTTP."""
    settings = McpSettings(name=_NAME, url=url, tools=TOOLS, poll_s=_POLL_S)
    engine = Engine(AGENTS, store=store)
    return mcp_app(engine, settings, server=plain_server(), events=Replay())


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The conformance fixture.")
    parser.add_argument("--store", default="memory:", help="where its tasks are kept")
    parser.add_argument("--port", type=int, default=0, help="0 is a free one")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    listening = socket.create_server(("127.0.0.1", options.port), backlog=256)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    app = fixture(options.store, url)
    sys.stdout.write(f"{url}/mcp\n")
    sys.stdout.flush()
    sys.exit(serve(app, sockets=[listening], log_level="warning"))


if __name__ == "__main__":
    main()
