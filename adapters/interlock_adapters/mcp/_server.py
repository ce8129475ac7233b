"""An MCP server with the agents of an engine among its tools."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast
from weakref import WeakKeyDictionary

import mcp_types as wire
from mcp.server.caching import CacheHint
from mcp.server.context import HandlerResult
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from interlock import Engine
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.mcp._calls import Calls
from interlock_adapters.mcp._desk import Desk
from interlock_adapters.mcp._errors import BORDER, TASKS
from interlock_adapters.mcp._experimental import Experimental
from interlock_adapters.mcp._listen import Listen
from interlock_adapters.mcp._settings import McpSettings, Request
from interlock_adapters.mcp._tasks import Tasks
from interlock_adapters.mcp._tools import Catalog
from interlock_adapters.mcp_tools._task import TaskParams, UpdateParams

Handler: TypeAlias = Callable[[Request, Any], Awaitable[Any]]
#: Milliseconds that a client may keep the list of tools: it does not change while we run.
LIST_TTL_MS: Final = 60_000
#: What was added to each server, the last first: the SDK's servers have no place for it.
_CATALOGS: Final[WeakKeyDictionary[Server[Any], list[Catalog]]] = WeakKeyDictionary()


def mcp_server(
    engine: Engine, settings: McpSettings, *, stopping: Stopping | None = None
) -> Server[Any]:
    """A server of the SDK whose tools are the engine's agents.

    `stopping` ends what waits before the server is stopped (see `McpFace`).

    Raises:
        InvalidInput: the settings do not make tools of the engine.
    """
    server: Server[Any] = Server(
        settings.name,
        version=settings.version,
        title=settings.title,
        description=settings.description,
        instructions=settings.instructions,
        cache_hints={"tools/list": CacheHint(ttl_ms=LIST_TTL_MS, scope="private")},
        on_subscriptions_listen=ListenHandler(InMemorySubscriptionBus()),
    )
    desk = _added(server, engine, settings, stopping)
    # What headers repeat is compared without listing all tools for each call.
    server.get_tool_input_schema = desk.catalog.schema_of
    return server


def add_agents(
    server: Server[Any],
    engine: Engine,
    settings: McpSettings,
    *,
    stopping: Stopping | None = None,
) -> None:
    """Add the engine's agents to a server that has tools, resources or prompts of its own.

    Its handlers stay and serve what is not ours: tools of both are listed.  Add it last: a
    handler that is added after ours replaces it.

    Raises:
        InvalidInput: the settings do not make tools of the engine.
    """
    _added(server, engine, settings, stopping)


def _added(
    server: Server[Any], engine: Engine, settings: McpSettings, stopping: Stopping | None
) -> Desk:
    desk = Desk(engine, settings, stopping or Stopping())
    tasks = Tasks(desk)
    _add(server, "tools/list", wire.PaginatedRequestParams, _list(desk, server))
    _add(server, "tools/call", wire.CallToolRequestParams, _call(desk, server))
    listen = Listen(desk, _there(server, "subscriptions/listen"))
    _add(server, "subscriptions/listen", wire.SubscriptionsListenRequestParams, listen)
    methods: dict[str, tuple[type[BaseModel], Handler]] = {
        "tasks/get": (TaskParams, tasks.get),
        "tasks/update": (UpdateParams, tasks.update),
        "tasks/cancel": (TaskParams, tasks.cancel),
    }
    for method, (params_type, handler) in methods.items():
        _add(server, method, params_type, _modern(handler))
    server.extensions[TASKS] = {}
    _CATALOGS.setdefault(server, []).insert(0, desk.catalog)
    if settings.experimental_tasks:
        server.middleware.append(Experimental(desk))
    return desk


def gives_handles(server: Server[Any], name: object) -> bool:
    """Whether a tool of that name is an agent's, and a call of it may become a task."""
    for catalog in _CATALOGS.get(server, ()):
        tool = catalog.get(name)
        if tool is not None:
            return tool.settings.tasks != "never"
    return False


def _there(server: Server[Any], method: str) -> Handler | None:
    """Who serves a method so far."""
    entry = server.get_request_handler(method)
    return None if entry is None else entry.handler


def _add(server: Server[Any], method: str, params_type: type[BaseModel], handler: Handler) -> None:
    async def guarded(request: Request, params: BaseModel) -> HandlerResult:
        with BORDER:
            result: HandlerResult = await handler(request, params)
            return result

    server.add_request_handler(method, params_type, guarded)


def _modern(handler: Handler) -> Handler:
    """The Tasks extension is of 2026-07-28: before, there is no such method."""

    async def served(request: Request, params: BaseModel) -> object:
        if request.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(wire.METHOD_NOT_FOUND, "Method not found", request.method)
        return await handler(request, params)

    return served


def _list(desk: Desk, server: Server[Any]) -> Handler:
    others = _there(server, "tools/list")

    async def listed(request: Request, params: wire.PaginatedRequestParams) -> object:
        """Ours after the last page of the server's own."""
        ours = desk.catalog.listed()
        if others is None:
            return wire.ListToolsResult(tools=ours)
        theirs = cast("wire.ListToolsResult", await others(request, params))
        if theirs.next_cursor is not None:
            return theirs
        return theirs.model_copy(update={"tools": [*theirs.tools, *ours]})

    return listed


def _call(desk: Desk, server: Server[Any]) -> Handler:
    others = _there(server, "tools/call")
    calls = Calls(desk)

    async def called(request: Request, params: wire.CallToolRequestParams) -> object:
        tool = desk.catalog.get(params.name)
        if tool is not None:
            return await calls.call(request, params, tool)
        if others is not None:
            return await others(request, params)
        raise MCPError(wire.INVALID_PARAMS, f"there is no tool {params.name!r:.80}")

    return called
