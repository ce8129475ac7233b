"""The MCP face of an engine: its agents as tools, and its tasks as tasks of MCP.

    engine = Engine({"book": book_a_flight})
    app = mcp_app(engine, McpSettings(name="Travel"))

`mcp_app` is a whole ASGI application, which starts and drains the engine; it speaks both eras
of the protocol on one URL.  `serve_stdio` speaks over the process's own pipes.  `mcp_server`
is a server of the SDK, `add_agents` adds to one that is there, and `McpFace` puts either into
an application that is there.

A call waits for its task, and its caller is asked on the way; a client that speaks the Tasks
extension (SEP-2663) gets a handle instead.  What is shown and accepted, and why, is in
specs/mcp.md.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from interlock import Engine

try:
    from mcp.server.lowlevel.server import Server
    from mcp.server.stdio import stdio_server
    from mcp.server.streamable_http import EventStore
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

    from interlock_adapters._callers.base import Authenticator
    from interlock_adapters._callers.principal import ANONYMOUS
    from interlock_adapters._http.shutdown import Stopping
    from interlock_adapters.mcp._errors import McpFault
    from interlock_adapters.mcp._http import McpAuth, McpFace
    from interlock_adapters.mcp._server import add_agents, mcp_server
    from interlock_adapters.mcp._settings import (
        McpSettings,
        McpTool,
        OwnerOf,
        owner_by_token,
    )
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.mcp needs the mcp extra: pip install 'interlock[mcp]'",
        name=_missing.name,
    ) from _missing

__all__ = [
    "ANONYMOUS",
    "McpAuth",
    "McpFace",
    "McpFault",
    "McpSettings",
    "McpTool",
    "OwnerOf",
    "Stopping",
    "add_agents",
    "mcp_app",
    "mcp_server",
    "owner_by_token",
    "serve_stdio",
]


def mcp_app(
    engine: Engine,
    settings: McpSettings,
    *,
    server: Server[Any] | None = None,
    auth: McpAuth | None = None,
    authenticator: Authenticator | None = None,
    events: EventStore | None = None,
    middleware: Sequence[Middleware] = (),
    owns_engine: bool = True,
    stopping: Stopping | None = None,
) -> Starlette:
    """An ASGI application that serves the engine's tasks as MCP over HTTP.

    With `owns_engine` its lifespan starts the engine and drains it.  `server` is one that
    the agents are added to.  `auth` says who may call; without it only this machine may.
    `authenticator` is that of an `Authentication` among the `middleware`, or in front of it
    all, which says that instead.  `events` are as for `McpFace`.  `middleware` comes before
    ours.  `stopping` is as for `a2a_app`, and may be shared with it.  The application is
    served once.

    Raises:
        InvalidInput: the settings do not make tools of the engine.
    """
    stops = stopping or Stopping()
    if server is None:
        server = mcp_server(engine, settings, stopping=stops)
    else:
        add_agents(server, engine, settings, stopping=stops)
    face = McpFace(
        server, settings, auth=auth, authenticator=authenticator, events=events, stopping=stops
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine if owns_engine else nullcontext(), face.serving():
            yield

    return Starlette(
        routes=[*face.routes], middleware=[*middleware, *face.middleware], lifespan=lifespan
    )


async def serve_stdio(engine: Engine, settings: McpSettings, *, owns_engine: bool = True) -> None:
    """Serve over the standard input and output of this process, until the input ends.

    Whoever started the process is its only client.  Nothing else may print meanwhile.

    Raises:
        InvalidInput: the settings do not make tools of the engine.
    """
    stops = Stopping()
    server = mcp_server(engine, settings, stopping=stops)
    async with engine if owns_engine else nullcontext(), stdio_server() as (read, write):
        with stops.serving():
            await server.run(read, write, server.create_initialization_options())
