"""One leg of a call: a request to an MCP server, and what its answer is for the task.

A leg that is cancelled cancels its request, and the SDK tells the server.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Annotated, Final, cast

import mcp_types as wire
from mcp import MCPError
from pydantic import Discriminator, Tag, TypeAdapter

from interlock import JsonObject, JsonValue, ToolUse
from interlock.errors import Denied
from interlock_adapters.mcp_tools._ask import answer_of, dismissed, question_of
from interlock_adapters.mcp_tools._discovery import listed
from interlock_adapters.mcp_tools._link import CALLER, Link
from interlock_adapters.mcp_tools._task import Created

#: The `_meta` field by which a server can tell a call that is made again from a new one.
IDEMPOTENCY_KEY: Final = "interlock/idempotencyKey"
#: Progress that one leg passes on: a server may send it without end, and each is an event.
PROGRESS_MAX: Final = 1000
#: Characters of one line of progress.
LINE_CHARS_MAX: Final = 500

Answer = wire.CallToolResult | wire.InputRequiredResult | Created


def _kind(value: object) -> str:
    match value:
        case {"resultType": "task"} | Created():
            return "task"
        case {"resultType": "input_required"} | wire.InputRequiredResult():
            return "input"
        case _:
            return "result"


#: Not the session's own `call_tool`, which judges results and raises what nobody expects: the
#: gate judges them, and says what is wrong.
ANSWER: Final[TypeAdapter[Answer]] = TypeAdapter(
    Annotated[
        Annotated[wire.CallToolResult, Tag("result")]
        | Annotated[wire.InputRequiredResult, Tag("input")]
        | Annotated[Created, Tag("task")],
        Discriminator(_kind),
    ]
)


class Leg:
    """What is open on a link in the name of one call of a task."""

    def __init__(self, source: str, use: ToolUse, link: Link, hidden: Callable[[str], str]) -> None:
        """Make it; `hidden` takes out of a server's words what we sent in confidence."""
        self._source: Final = source
        self._use: Final = use
        self._link: Final = link
        self._hidden: Final = hidden
        self._asking: Final[set[asyncio.Task[JsonValue]]] = set()
        self._questions = 0
        self._told = 0
        self._sending: asyncio.Task[Answer] | None = None
        self._failure: BaseException | None = None

    async def call(
        self,
        name: str,
        arguments: JsonObject,
        *,
        responses: wire.InputResponses | None = None,
        state: str | None = None,
    ) -> Answer:
        """Call a tool, or go on with a call that was to be sent again.

        Raises:
            MCPError: the server refused, or cannot be reached.
            ValidationError: what it answered is no answer.
        """
        params = wire.CallToolRequestParams(
            name=name,
            arguments=arguments,
            input_responses=responses,
            request_state=state,
            _meta=cast("wire.RequestParamsMeta", {IDEMPOTENCY_KEY: self._use.token}),
        )
        request = wire.CallToolRequest(params=params)
        try:
            return await self._sent(request)
        except MCPError as error:
            if error.code != wire.HEADER_MISMATCH or not self._link.is_modern:
                raise
        # The protocol's own remedy: which arguments go into headers is in the list of tools.
        await listed(self._source, self._link.session)
        return await self._sent(request)

    async def _sent(self, request: wire.CallToolRequest) -> Answer:
        self._link.enter(self)
        sending = asyncio.create_task(self._send(request))
        self._sending = sending
        try:
            await asyncio.wait({sending})
        finally:
            self._link.leave(self, cut=not sending.done())
            rest = {sending, *self._asking}
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)
        if self._failure is not None:
            _ = sending.cancelled() or sending.exception()
            raise self._failure
        return sending.result()

    async def _send(self, request: wire.CallToolRequest) -> Answer:
        CALLER.set(self)
        return await self._link.session.send_request(
            request, ANSWER, progress_callback=self._progressed
        )

    async def elicited(self, params: wire.ElicitRequestParams) -> wire.ElicitResult:
        """Put a question of the server's to the task, while its call stays open."""
        self._questions += 1
        name = f"question {self._questions}"
        try:
            question, asked = question_of(self._source, name, params)
            asking = asyncio.create_task(self._ask(name, question.prompt, question.form))
            self._asking.add(asking)
            try:
                await asyncio.wait({asking})
            finally:
                self._asking.discard(asking)
                asking.cancel()
            if asking.cancelled():
                return dismissed()  # the call is over
            return answer_of(self._source, asked, asking.result())
        except Denied:
            return dismissed()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  (also a stop: the leg ends with it)
            self._fail(error)
            return dismissed()

    async def _ask(self, name: str, prompt: str, form: JsonObject) -> JsonValue:
        return await self._use.ask(name, prompt, form)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        if self._sending is not None:
            self._sending.cancel()

    async def _progressed(self, progress: float, total: float | None, message: str | None) -> None:
        self._told += 1
        if self not in self._link.callers or self._told > PROGRESS_MAX:
            return
        line = self._hidden(" ".join((message or "").split()))[:LINE_CHARS_MAX]
        if not line:
            line = f"{progress:g}" if total is None else f"{progress:g} of {total:g}"
        try:
            await self._use.progress(line, _fraction(progress, total))
        except (Exception, asyncio.CancelledError):
            raise  # The SDK takes note of it, and goes on.
        except BaseException as error:  # noqa: BLE001  (a stop: it would end the connection)
            self._fail(error)


def _fraction(done: float, total: float | None) -> float | None:
    if total is None or not math.isfinite(done) or not math.isfinite(total) or total <= 0:
        return None
    return min(max(done / total, 0.0), 1.0)
