"""What the tests of the MCP face share: an engine behind it, and a host that speaks to it.

The host is the SDK's own client, in process or over loopback, with what a host may hold back
from it laid open: rounds of questions, handles of tasks, notifications.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import mcp_types as wire
from mcp import Client
from mcp.client.extension import NotificationBinding
from mcp.client.session import ClientRequestContext
from mcp.server.lowlevel.server import Server

from interlock import Agent, Engine, JsonObject, Limits, MemoryStore, Store, TaskRecord
from interlock.testing import ManualClock
from interlock_adapters.mcp import McpSettings, McpTool, Stopping, add_agents, mcp_server
from interlock_adapters.mcp_tools._task import (
    CancelTask,
    Created,
    Detailed,
    GetTask,
    TaskParams,
    TasksExtension,
    UpdateParams,
    UpdateTask,
)
from support import drained, soon

Era: TypeAlias = Literal["handshake", "modern"]
ERAS: Final[tuple[Era, ...]] = ("handshake", "modern")
MODES: Final[dict[Era, Any]] = {"handshake": "legacy", "modern": "2026-07-28"}

OWNER: Final = "ada"
Called: TypeAlias = wire.CallToolResult | wire.InputRequiredResult | Created


class Speaks(TasksExtension):
    """A client that speaks the extension, and notes what it is notified of."""

    def __init__(self, told: "asyncio.Queue[Detailed]") -> None:
        self._told: Final = told

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        """See `ClientExtension`."""

        async def heard(detailed: Detailed) -> None:
            self._told.put_nowait(detailed)

        return (
            NotificationBinding(method="notifications/tasks", params_type=Detailed, handler=heard),
        )


@dataclass
class Host:
    """A host of MCP: what it is asked, what it says, and what it sees."""

    client: Client
    #: What it was asked live or in rounds by the SDK's own loop.
    asked: list[wire.ElicitRequestParams]
    told: "asyncio.Queue[Detailed]" = field(default_factory=asyncio.Queue[Detailed])

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        responses: Mapping[str, wire.ElicitResult] | None = None,
        state: str | None = None,
        meta: Any = None,  # noqa: ANN401
    ) -> Called:
        """One `tools/call` and nothing beyond it, whatever comes back."""
        result = await soon(
            self.client.session.call_tool(
                name,
                dict(arguments or {}),
                input_responses=dict(responses) if responses is not None else None,
                request_state=state,
                allow_input_required=True,
                allow_claimed=True,
                meta=meta,
            )
        )
        assert isinstance(result, wire.CallToolResult | wire.InputRequiredResult | Created)
        return result

    async def created(self, name: str, arguments: Mapping[str, Any] | None = None) -> str:
        """The id of the task that a call makes."""
        result = await self.call(name, arguments)
        assert isinstance(result, Created), result
        return result.task_id

    async def result(
        self, name: str, arguments: Mapping[str, Any] | None = None
    ) -> wire.CallToolResult:
        """What a call comes to whose caller waits."""
        result = await self.call(name, arguments)
        assert isinstance(result, wire.CallToolResult), result
        return result

    async def get(self, task_id: str) -> Detailed:
        """How a task is."""
        request = GetTask(params=TaskParams(taskId=task_id))
        return await soon(self.client.session.send_request(request, Detailed))

    async def update(self, task_id: str, responses: Mapping[str, Any]) -> wire.EmptyResult:
        """Answer a task."""
        params = UpdateParams(taskId=task_id, inputResponses=dict(responses))
        request = UpdateTask(params=params)
        return await soon(self.client.session.send_request(request, wire.EmptyResult))

    async def cancel(self, task_id: str) -> wire.EmptyResult:
        """Cancel a task."""
        request = CancelTask(params=TaskParams(taskId=task_id))
        return await soon(self.client.session.send_request(request, wire.EmptyResult))


@dataclass
class Scene:
    """An engine with an MCP face, and who its caller is."""

    engine: Engine
    server: Server[Any]
    stopping: Stopping
    clock: ManualClock
    store: Store
    owner: str = OWNER
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    @asynccontextmanager
    async def host(
        self,
        era: Era = "modern",
        *,
        tasks: bool = False,
        answers: Sequence[wire.ElicitResult | BaseException] | None = None,
        messages: list[object] | None = None,
    ) -> AsyncGenerator[Host]:
        """A host that gives these answers; with None it cannot be asked."""
        async with connected(
            self.server, era, tasks=tasks, answers=answers, messages=messages
        ) as host:
            yield host

    async def asking(self, task_id: str, count: int = 1) -> TaskRecord:
        """A task, once so many questions of it are open."""
        async for _ in self.engine.subscribe(task_id, owner=None):
            record = await self.record(task_id)
            if len(record.asks) == count:
                return record
        raise AssertionError("it is over")

    async def record(self, task_id: str) -> TaskRecord:
        """A task, whoever it belongs to."""
        return await self.engine.record(task_id, owner=None)


@asynccontextmanager
async def connected(
    target: Any,  # noqa: ANN401
    era: Era = "modern",
    *,
    tasks: bool = False,
    answers: Sequence[wire.ElicitResult | BaseException] | None = None,
    messages: list[object] | None = None,
) -> AsyncGenerator[Host]:
    """A host of a server, or of an address; `messages` get whatever else it is told."""
    asked: list[wire.ElicitRequestParams] = []
    left = list(answers or ())

    async def elicited(
        context: ClientRequestContext, params: wire.ElicitRequestParams
    ) -> wire.ElicitResult:
        del context
        asked.append(params)
        if not left:
            await asyncio.Event().wait()  # As people do.
        match left.pop(0):
            case BaseException() as error:
                raise error
            case said:
                return said

    async def heard(message: object) -> None:
        if messages is not None:
            messages.append(message)

    told: asyncio.Queue[Detailed] = asyncio.Queue()
    client = Client(
        target,
        mode=MODES[era],
        message_handler=heard,
        elicitation_callback=None if answers is None else elicited,
        extensions=[Speaks(told)] if tasks else [],
    )
    async with client:
        yield Host(client, asked, told)


@asynccontextmanager
async def scene(
    agents: "Agent | Mapping[str, Agent]",
    *tools: McpTool,
    server: Server[Any] | None = None,
    store: Store | None = None,
    limits: Limits | None = None,
    **settings: Any,  # noqa: ANN401
) -> AsyncGenerator[Scene]:
    """An open engine whose agents are tools."""
    clock, kept, stopping = ManualClock(), store or MemoryStore(), Stopping()
    engine = Engine(agents, store=kept, limits=limits, clock=clock)
    seen: list[Scene] = []
    told = McpSettings(
        name="Tests", tools=tools, owner_of=lambda _request: seen[0].owner, **settings
    )
    if server is None:
        server = mcp_server(engine, told, stopping=stopping)
    else:
        add_agents(server, engine, told, stopping=stopping)
    await engine.start()
    try:
        seen.append(Scene(engine, server, stopping, clock, kept))
        yield seen[0]
    finally:
        await drained(engine, clock)


def tool(name: str, **settings: Any) -> McpTool:  # noqa: ANN401
    """A tool whose description nobody reads."""
    return McpTool(name=name, description="Does as it is told.", **settings)


def accept(**content: Any) -> wire.ElicitResult:  # noqa: ANN401
    """Yes, with this."""
    return wire.ElicitResult(action="accept", content=content)


DECLINE: Final = wire.ElicitResult(action="decline")
DISMISS: Final = wire.ElicitResult(action="cancel")


def raw(result: wire.ElicitResult) -> JsonObject:
    """As `tasks/update` wants it."""
    shown: JsonObject = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return shown


def text(result: wire.CallToolResult) -> str:
    """All its text."""
    return "\n".join(c.text for c in result.content if isinstance(c, wire.TextContent))
