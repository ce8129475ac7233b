"""What the MCP tests share: a use that notes what it is told, and servers that behave oddly."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import mcp_types as wire
import uvicorn
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Extension, MCPServer, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field
from starlette.types import ASGIApp

from interlock import Alarm, JsonObject, JsonValue, Tool, ToolResult
from interlock.testing import ManualClock
from interlock_adapters.mcp_tools import McpLimits, McpServer
from support import soon

V = TypeVar("V")

Era = Literal["legacy", "modern"]
ERAS: Final[tuple[Era, ...]] = ("legacy", "modern")

#: Tries at once, since nothing gets better while a test waits.
ONCE: Final = McpLimits(attempts=1)


@dataclass
class RecordingUse:
    """A call as its source sees it: notes what it is told, and answers what is in `answers`.

    What is asked beyond that waits for ever, as people do.
    """

    token: str = "call-1"  # noqa: S105  (it is no secret)
    task_id: str = "task"
    owner: str = "ada"
    carried: Mapping[str, str] = field(default_factory=dict[str, str])
    answers: list[JsonValue | BaseException] = field(
        default_factory=list[JsonValue | BaseException]
    )
    asked: list[tuple[str, str, JsonObject]] = field(
        default_factory=list[tuple[str, str, JsonObject]]
    )
    said: list[tuple[str, float | None]] = field(default_factory=list[tuple[str, float | None]])
    put_aside: bool = False
    #: How often something was done on a thread.
    threads: int = 0
    #: Set when something is asked.
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set when an ask is given up.
    dropped: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, name: str, prompt: str, form: JsonObject) -> JsonValue:
        """See `ToolUse`."""
        self.asked.append((name, prompt, form))
        self.heard.set()
        if not self.answers:
            try:
                await asyncio.Event().wait()
            finally:
                self.dropped.set()
        match self.answers.pop(0):
            case BaseException() as error:
                raise error
            case answer:
                return answer

    async def progress(self, message: str, fraction: float | None = None) -> None:
        """See `ToolUse`."""
        self.said.append((message, fraction))

    async def on_thread(self, work: Callable[[], V]) -> V:
        """See `ToolUse`."""
        self.threads += 1
        return await asyncio.to_thread(work)


#: Tasks of ours, and of the SDK's client, by their names or the functions that they run.
OURS: Final = ("Link.", "Connections.", "Leg.", "Remote.", "McpServer.", "mcp.client.")


@asynccontextmanager
async def opened(source: McpServer, *, alone: bool = True) -> AsyncGenerator[McpServer]:
    """The source, open; afterwards nothing of it is left.

    Not `alone`: its server runs on the same loop, and has tasks of its own.
    """
    before = asyncio.all_tasks()
    await soon(source.open())
    try:
        yield source
    finally:
        await soon(source.close())
        left = {task for task in asyncio.all_tasks() - before if not task.done()}
        assert {task for task in left if alone or is_ours(task)} == set()


def is_ours(task: asyncio.Task[Any]) -> bool:
    """Whether it belongs to a source."""
    runs = getattr(task.get_coro(), "__qualname__", "")
    return task.get_name().startswith(OURS) or runs.startswith(OURS)


def tool(source: McpServer, name: str) -> Tool:
    """One of its tools."""
    (found,) = [tool for tool in source.tools() if tool.name == name]
    return found


async def called(
    source: McpServer, name: str, use: RecordingUse | None = None, /, **arguments: JsonValue
) -> ToolResult:
    """What a call comes to that needs nothing more."""
    outcome = await soon(source.call(tool(source, name), arguments, use or RecordingUse()))
    assert isinstance(outcome, ToolResult)
    return outcome


def text(said: str, **fields: Any) -> wire.CallToolResult:  # noqa: ANN401
    """A result of one text."""
    content: list[wire.ContentBlock] = [wire.TextContent(type="text", text=said)]
    return wire.CallToolResult(content=content, **fields)


def described(name: str, **fields: Any) -> wire.Tool:  # noqa: ANN401
    """A tool as a server lists it."""
    return wire.Tool(name=name, input_schema={"type": "object"}, **fields)


class NotingClock(ManualClock):
    """Time stands still, and what is waited for is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: Final[list[float]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """See `Clock`."""
        self.delays.append(delay_s)
        return super().call_later(delay_s, callback)


Handler = Callable[
    [wire.CallToolRequestParams], Awaitable[wire.CallToolResult | wire.InputRequiredResult]
]


def raw_server(pages: Sequence[Sequence[wire.Tool]], call: Handler | None = None) -> Server[Any]:
    """A server that lists just these pages of tools, and answers as it is told."""

    async def on_list(
        _context: ServerRequestContext[Any, Any], params: wire.PaginatedRequestParams | None
    ) -> wire.ListToolsResult:
        page = int(params.cursor) if params is not None and params.cursor is not None else 0
        after = str(page + 1) if page + 1 < len(pages) else None
        return wire.ListToolsResult(tools=list(pages[page]), next_cursor=after)

    async def on_call(
        _context: ServerRequestContext[Any, Any], params: wire.CallToolRequestParams
    ) -> wire.CallToolResult | wire.InputRequiredResult:
        return text("done") if call is None else await call(params)

    return Server("raw", on_list_tools=on_list, on_call_tool=on_call)


@asynccontextmanager
async def serving(app: ASGIApp, listening: socket.socket) -> AsyncGenerator[str]:
    """The application over HTTP on that socket; its URL."""
    config = uvicorn.Config(
        app, log_level="critical", timeout_graceful_shutdown=1, lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 60)


@asynccontextmanager
async def listening() -> AsyncGenerator[socket.socket]:
    """A socket on a free port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@asynccontextmanager
async def served(server: MCPServer) -> AsyncGenerator[str]:
    """The server over HTTP on the loopback; its URL."""
    async with (
        listening() as found,
        serving(server.streamable_http_app(), found) as url,
    ):
        yield url


# --- a server with the Tasks extension --------------------------------------------------


class _Params(wire.RequestParams):
    task_id: str = Field(alias="taskId")


class _Update(_Params):
    input_responses: dict[str, Any] = Field(alias="inputResponses")


@dataclass
class Job:
    """A task of the server's, moved by the test."""

    task_id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    shown: dict[str, Any] = field(default_factory=lambda: {"status": "working"})
    updates: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    gets: int = 0
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    #: What a get does first.
    before_get: Callable[[], None] | None = None

    def ends(self, result: wire.CallToolResult) -> None:
        """It has completed."""
        body = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        self.shown = {"status": "completed", "result": body}

    def asks(self, **requests: wire.InputRequest) -> None:
        """It wants to know."""
        self.shown = {
            "status": "input_required",
            "inputRequests": {
                key: request.model_dump(by_alias=True, mode="json", exclude_none=True)
                for key, request in requests.items()
            },
        }


class Jobs(Extension):
    """Makes a task of every call of the tools named."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, *tools: str) -> None:
        self._tools: Final = tools
        self.jobs: Final[dict[str, Job]] = {}

    @property
    def only(self) -> Job:
        """The one there is."""
        (job,) = self.jobs.values()
        return job

    def methods(self) -> Sequence[MethodBinding]:
        """See `Extension`."""
        modern = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("tasks/get", _Params, self._get, modern),
            MethodBinding("tasks/update", _Update, self._update, modern),
            MethodBinding("tasks/cancel", _Params, self._cancel, modern),
        ]

    async def intercept_tool_call(
        self,
        params: wire.CallToolRequestParams,
        ctx: ServerRequestContext[Any, Any],
        call_next: CallNext,
    ) -> HandlerResult:
        """See `Extension`."""
        capabilities = ctx.session.client_capabilities
        declared = capabilities is not None and self.identifier in (capabilities.extensions or {})
        if params.name not in self._tools or not declared:
            return await call_next(ctx)
        job = Job()
        self.jobs[job.task_id] = job
        return {"resultType": "task", **self._fields(job), "status": "working"}

    def _fields(self, job: Job) -> dict[str, Any]:
        when = "2026-01-01T00:00:00Z"
        return {
            "taskId": job.task_id,
            "createdAt": when,
            "lastUpdatedAt": when,
            "ttlMs": None,
            "pollIntervalMs": 2000,
        }

    def _job(self, params: _Params) -> Job:
        if (job := self.jobs.get(params.task_id)) is None:
            raise MCPError(code=wire.INVALID_PARAMS, message="Task not found")
        return job

    async def _get(self, _ctx: ServerRequestContext[Any, Any], params: _Params) -> dict[str, Any]:
        job = self._job(params)
        job.gets += 1
        if job.before_get is not None:
            job.before_get()
        return {"resultType": "complete", **self._fields(job), **job.shown}

    async def _update(
        self, _ctx: ServerRequestContext[Any, Any], params: _Update
    ) -> dict[str, Any]:
        self._job(params).updates.append(params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(
        self, _ctx: ServerRequestContext[Any, Any], params: _Params
    ) -> dict[str, Any]:
        self._job(params).cancelled.set()
        return {"resultType": "complete"}


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and see that it ends as cancelled."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await soon(task)
    assert task.cancelled()
