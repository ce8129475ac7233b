"""The tasks of MCP 2025-11-25 (SEP-1686): an experiment, and gone from the protocol since.

Here the client says that a call shall be a task.  What is asked on the way is put to it while
it waits for the result, on the stream of that request.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import mcp_types as wire
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from interlock import OVER, Phase, TaskQuery, TaskRecord
from interlock.errors import IllegalTrigger, StoreCorrupt, UnknownTask
from interlock_adapters.mcp._calls import refused
from interlock_adapters.mcp._desk import Desk
from interlock_adapters.mcp._errors import BORDER, invalid
from interlock_adapters.mcp._live import Live
from interlock_adapters.mcp._settings import Request
from interlock_adapters.mcp._status import (
    CANCELLED,
    COMPLETED,
    FAILED,
    Client,
    Json,
    dumped,
)
from interlock_adapters.mcp._tools import Offered
from interlock_adapters.mcp_tools._task import TaskParams

P = TypeVar("P", bound=BaseModel)

_Served: TypeAlias = Callable[[Request, CallNext], Awaitable[HandlerResult]]

VERSION: Final = "2025-11-25"
_CAPABILITY: Final[Json] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
#: What is shown of a task depends on nobody: questions are not part of it.
_CLIENT: Final = Client(version=VERSION, modern=False, by_form=True, by_url=False, tasks=False)
#: Where a result says which task it is of.
_RELATED: Final = "io.modelcontextprotocol/related-task"


class Experimental:
    """A middleware of the SDK's server: it has no handlers for these methods."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._live: Final = Live(desk)
        self._methods: Final[dict[str, _Served]] = {
            "tools/call": self._called,
            "tasks/get": self._get,
            "tasks/result": self._result,
            "tasks/list": self._listed,
            "tasks/cancel": self._cancel,
        }

    async def __call__(self, ctx: Request, call_next: CallNext) -> HandlerResult:
        """Serve one message."""
        request = ctx
        if request.method == "initialize":
            return await self._initialized(request, call_next)
        serve = self._methods.get(request.method)
        if serve is None or request.protocol_version != VERSION:
            return await call_next(request)
        with BORDER:
            return await serve(request, call_next)

    async def _initialized(self, request: Request, call_next: CallNext) -> HandlerResult:
        result = await call_next(request)
        if not isinstance(result, dict) or result.get("protocolVersion") != VERSION:
            return result
        return {**result, "capabilities": {**result["capabilities"], "tasks": _CAPABILITY}}

    async def _called(self, request: Request, call_next: CallNext) -> HandlerResult:
        """A call that shall be a task; any other is not ours."""
        tool = self._desk.catalog.get((request.params or {}).get("name"))
        if tool is None:
            return await call_next(request)
        wanted = "task" in (request.params or {})
        if tool.settings.tasks == ("never" if wanted else "required"):
            must = "cannot be" if wanted else "must be"
            raise MCPError(wire.METHOD_NOT_FOUND, f"a call of {tool.name} {must} a task")
        if not wanted:
            return await call_next(request)
        params = _validated(wire.CallToolRequestParams, request)
        return await self._made(request, params, tool)

    async def _made(
        self, request: Request, params: wire.CallToolRequestParams, tool: Offered
    ) -> HandlerResult:
        arguments: Any = dict(params.arguments or {})
        if problems := tool.problems(arguments):
            return dumped(refused(problems))
        owner = self._desk.owner(request)
        seat = self._desk.seat(request, owner)
        handle = await self._desk.submit(seat, tool, arguments, owner)
        seat.told()
        seat.leave()
        return {"task": await self._shown(handle.record)}

    async def _get(self, request: Request, _next: CallNext) -> HandlerResult:
        return await self._shown(await self._named(request))

    async def _result(self, request: Request, _next: CallNext) -> HandlerResult:
        """What the task comes to, once it has; its questions are put meanwhile."""
        record = await self._named(request)
        if record.phase not in OVER:
            client = self._desk.client(request)
            async with self._desk.waiting():
                record = await self._live.over(request, record, client)
        if record.shown is Phase.CANCELLED:
            raise invalid("the task was cancelled", reason="cancelled")
        whole = dumped(await self._desk.result(record))
        whole["_meta"] = {**whole.get("_meta", {}), _RELATED: {"taskId": record.task_id}}
        return whole

    async def _listed(self, request: Request, _next: CallNext) -> HandlerResult:
        params = _validated(wire.PaginatedRequestParams, request)
        cursor = None if params.cursor is None else _read(params.cursor)
        query = TaskQuery(owner=self._desk.owner(request), cursor=cursor)
        page = await self._desk.engine.page(query)
        tasks: list[Json] = []
        for record in page.records:
            # One that cannot be read, or was purged just now, hides no other (I37).
            with suppress(StoreCorrupt, UnknownTask):
                tasks.append(await self._shown(record))
        shown: Json = {"tasks": tasks}
        if page.next_cursor is not None:
            shown["nextCursor"] = _written(page.next_cursor)
        return shown

    async def _cancel(self, request: Request, _next: CallNext) -> HandlerResult:
        record = await self._named(request)
        try:
            record = await self._desk.engine.cancel(record.task_id, owner=record.owner)
        except IllegalTrigger:
            raise invalid("the task is over, and cannot be cancelled") from None
        return await self._shown(record)

    async def _named(self, request: Request) -> TaskRecord:
        params = _validated(TaskParams, request)
        return await self._desk.engine.record(params.task_id, owner=self._desk.owner(request))

    async def _shown(self, record: TaskRecord) -> Json:
        """A task in the words of 2025-11-25: what has failed, failed."""
        told = await self._desk.detailed(record, _CLIENT)
        status = told["status"]
        if status == COMPLETED and told["result"].get("isError"):
            status = FAILED
        shown: Json = {
            "taskId": told["taskId"],
            "status": status,
            "createdAt": told["createdAt"],
            "lastUpdatedAt": told["lastUpdatedAt"],
            "ttl": told["ttlMs"],
            "pollInterval": told["pollIntervalMs"],
        }
        if status != CANCELLED and "statusMessage" in told:
            shown["statusMessage"] = told["statusMessage"]
        return shown


def _validated(kind: type[P], request: Request) -> P:
    """The parameters of a request.

    Raises:
        MCPError: they are not what they must be.
    """
    try:
        return kind.model_validate(request.params or {}, by_name=False)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        said = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults]
        raise invalid(*said) from None


def _written(cursor: tuple[float, str]) -> str:
    """Where a page ends, as a client gets it."""
    return base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()


def _read(cursor: str) -> tuple[float, str]:
    """Where a page begins.

    Raises:
        MCPError: the cursor is none of ours.
    """
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, RecursionError):
        place = None
    match place:
        case [float() as at, str() as task_id]:
            return at, task_id
        case _:
            raise invalid("the cursor is none that a page gave")
