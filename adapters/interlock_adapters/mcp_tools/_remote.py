"""Waiting for a task of an MCP server's (Tasks extension) that a call became.

A leg answers what was asked, then asks how the task is until it ends or asks something new.
All of that can be done again after a crash.  A leg that is cancelled has the task cancelled.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, assert_never

import mcp_types as wire
from mcp import MCPError
from pydantic import ValidationError

from interlock import JsonObject, ToolUse, Unfinished
from interlock.errors import SourceUnavailable, ToolError
from interlock_adapters.mcp_tools._ask import questions_of, responses_of
from interlock_adapters.mcp_tools._connections import FAREWELL_S, LOG, Connections
from interlock_adapters.mcp_tools._leg import LINE_CHARS_MAX
from interlock_adapters.mcp_tools._link import Link
from interlock_adapters.mcp_tools._task import (
    CancelTask,
    Created,
    Detailed,
    GetTask,
    TaskParams,
    UpdateParams,
    UpdateTask,
)
from interlock_adapters.mcp_tools._token import TaskToken
from interlock_adapters.mcp_tools._wait import limit, pause


def unfinished_of(created: Created) -> Unfinished:
    """A call that became a task: it is to be waited for."""
    token = TaskToken(task_id=created.task_id, poll_s=created.poll_s)
    return Unfinished(token=token.to_json(), repeatable=True)


#: After these nothing comes any more.
ENDED: Final = frozenset(("completed", "failed", "cancelled"))


class Remote:
    """One leg of waiting for a server's task."""

    def __init__(
        self, connections: Connections, token: TaskToken, carried: Mapping[str, str], use: ToolUse
    ) -> None:
        self._connections: Final = connections
        self._token: Final = token
        self._carried: Final = carried
        self._use: Final = use
        self._name: Final = connections.name
        self._params: Final = TaskParams(taskId=token.task_id)
        self._tried = 0
        self._told: str | None = None
        #: Whether the server has said that nothing works on it any more.
        self._is_over = False

    async def waited(self, answers: JsonObject) -> wire.CallToolResult | Unfinished:
        """The result of the task, or what it asks next.

        Raises:
            ToolError: the task failed, or wants what it cannot have.
            SourceUnavailable: the server is gone for too long.
        """
        responses: JsonObject = {
            key: response.model_dump(by_alias=True, mode="json", exclude_none=True)
            for key, response in responses_of(self._name, self._token.asked, answers).items()
        }
        try:
            return await self._waited(responses)
        except (ToolError, asyncio.CancelledError):
            if not self._is_over and not self._use.put_aside:
                self._connections.farewell(self._cancel())  # nobody waits for it any more
            raise

    async def _waited(self, responses: JsonObject) -> wire.CallToolResult | Unfinished:
        limits, clock = self._connections.limits, self._connections.clock
        while True:
            try:
                async with self._connections.borrowed(self._carried) as link:
                    return await self._followed(link, responses)
            except SourceUnavailable:
                # The task outlives a connection, and maybe the server's process.
                self._tried += 1
                if self._tried >= limits.attempts:
                    raise
            await pause(clock, limits.backoff_s(self._tried))

    async def _followed(
        self, link: Link, responses: JsonObject
    ) -> wire.CallToolResult | Unfinished:
        try:
            if responses:
                update = UpdateParams(taskId=self._token.task_id, inputResponses=responses)
                await link.session.send_request(UpdateTask(params=update), wire.EmptyResult)
            while True:
                now = await link.session.send_request(GetTask(params=self._params), Detailed)
                self._tried = 0
                outcome = self._outcome(now)
                if outcome is not None:
                    return outcome
                await self._tell(now.status_message)
                await pause(self._connections.clock, now.poll_s)
        except MCPError as error:
            why = self._connections.words_of(error, self._carried)
            if error.code == wire.CONNECTION_CLOSED:
                raise SourceUnavailable(self._name, why) from None
            self._is_over = error.code == wire.INVALID_PARAMS  # it knows of no such task
            raise ToolError(f"MCP server {self._name!r}, of its own task: {why}") from None
        except ValidationError:
            raise ToolError(f"MCP server {self._name!r} says of its task what is not MCP") from None

    def _outcome(self, now: Detailed) -> wire.CallToolResult | Unfinished | None:
        """What has come of it; None if it works on."""
        self._is_over = now.status in ENDED
        match now.status:
            case "working":
                return None
            case "input_required":
                return self._asked(now)
            case "completed":
                return wire.CallToolResult.model_validate(now.result, by_name=False)
            case "failed":
                said = (now.error or {}).get("message") or now.status_message or "no reason given"
                why = self._connections.hidden(str(said), self._carried)
                raise ToolError(f"MCP server {self._name!r}: its task failed: {why:.500}")
            case "cancelled":
                raise ToolError(f"MCP server {self._name!r} cancelled its task")
            case _:
                assert_never(now.status)

    def _asked(self, now: Detailed) -> Unfinished | None:
        """New questions; what was answered may be shown for a while longer."""
        answered = (*self._token.answered, *(asked.key for asked in self._token.asked.values()))
        questions, asked = questions_of(self._name, now.input_requests or {}, answered)
        if not questions:
            return None
        token = TaskToken(
            task_id=self._token.task_id, poll_s=now.poll_s, answered=answered, asked=asked
        )
        return Unfinished(questions=questions, token=token.to_json(), repeatable=True)

    async def _tell(self, said: str | None) -> None:
        line = self._connections.hidden(" ".join((said or "").split()), self._carried)
        if line and line != self._told:
            self._told = line
            await self._use.progress(line[:LINE_CHARS_MAX])

    async def _cancel(self) -> None:
        try:
            async with (
                limit(self._connections.clock, FAREWELL_S),
                self._connections.borrowed(self._carried) as link,
            ):
                await link.session.send_request(CancelTask(params=self._params), wire.EmptyResult)
        except (MCPError, ValidationError, SourceUnavailable, TimeoutError) as error:
            why = self._connections.words_of(error, self._carried)
            LOG.warning("MCP server %r was not told to cancel a task: %s", self._name, why)
