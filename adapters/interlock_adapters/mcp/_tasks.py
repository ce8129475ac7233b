"""The Tasks extension of MCP (SEP-2663): `tasks/get`, `tasks/update` and `tasks/cancel`.

Any task of the caller may be named, whatever protocol it came by.
"""

from contextlib import suppress
from typing import Final

import mcp_types as wire
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from pydantic import ValidationError

from interlock import OVER, Phase, TaskRecord
from interlock.errors import IllegalTrigger, Refused
from interlock_adapters.mcp._desk import Desk
from interlock_adapters.mcp._errors import invalid, needs_tasks
from interlock_adapters.mcp._settings import Request
from interlock_adapters.mcp._status import Json, answerable
from interlock_adapters.mcp_tools._task import TaskParams, UpdateParams

#: Where an acknowledgement says, by key, why an answer was not taken (ours).
IGNORED: Final = "interlock/ignored"


class Tasks:
    """Serves the methods of the extension."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk

    async def get(self, request: Request, params: TaskParams) -> Json:
        """How a task is."""
        owner = self._owner(request, params)
        record = await self._desk.engine.settled(params.task_id, owner=owner)
        detailed = await self._desk.detailed(record, self._desk.client(request))
        return {"resultType": "complete", **detailed}

    async def update(self, request: Request, params: UpdateParams) -> Json:
        """Answer what a task asks: some of it, or all.

        What is not asked, or no longer, is left alone, and the acknowledgement says so.  If
        one answer does not fit what was asked for, none is taken.

        Raises:
            MCPError: an answer does not fit; every ask stays open.
        """
        record = await self._named(request, params)
        open_now = {ask.key: ask for ask in answerable(record)}
        given = params.input_responses
        ignored = {key: _why(record, key) for key in given if key not in open_now}
        replies = {key: _reply(key, given[key]) for key in given if key in open_now}
        problems: list[str] = []
        for key, reply in replies.items():
            found = await self._desk.problems_of(record, open_now[key], reply)
            problems += [f"{key}: {problem}" for problem in found]
        if problems:
            raise invalid(*problems)
        for key, reply in replies.items():
            try:
                await self._desk.say(record, open_now[key], reply, token=None)
            except Refused:
                record = await self._desk.engine.record(record.task_id, owner=record.owner)
                if record.ask(key) is not None:
                    raise
                # Another answer was quicker, or one of these has stopped the task.
                ignored[key] = _why(record, key)
        ack: Json = {"resultType": "complete"}
        if ignored:
            ack["_meta"] = {IGNORED: ignored}
        return ack

    async def cancel(self, request: Request, params: TaskParams) -> Json:
        """Ask a task to stop; one that is over is left as it is."""
        record = await self._named(request, params)
        with suppress(IllegalTrigger):  # It is over, and to cancel it once more is no error.
            await self._desk.engine.cancel(record.task_id, owner=record.owner)
        return {"resultType": "complete"}

    async def _named(self, request: Request, params: TaskParams) -> TaskRecord:
        """The task that a request names.

        Raises:
            MCPError: as `_owner`.
            UnknownTask: the caller has no such task.
        """
        owner = self._owner(request, params)
        return await self._desk.engine.record(params.task_id, owner=owner)

    def _owner(self, request: Request, params: TaskParams) -> str:
        """Who names a task, once it is clear that they may.

        Raises:
            MCPError: the client does not speak the extension, or its header names another task.
        """
        check_tasks_client(self._desk, request)
        check_name(request, params.task_id)
        return self._desk.owner(request)


def check_tasks_client(desk: Desk, request: Request) -> None:
    """See that the client speaks the extension.

    Raises:
        MCPError: it has not said so in this request.
    """
    if not desk.client(request).tasks:
        raise needs_tasks()


def check_name(request: Request, task_id: str) -> None:
    """See that the header by which proxies route names the task that is meant (SEP-2243).

    Without a header it is let pass: there are clients that do not send it.

    Raises:
        MCPError: it names another.
    """
    headers = getattr(request.request, "headers", None)
    named = None if headers is None else headers.get(MCP_NAME_HEADER)
    if named is not None and decode_header_value(named) != task_id:
        why = f"the {MCP_NAME_HEADER} header does not name the task of the request"
        raise MCPError(wire.HEADER_MISMATCH, why)


def _reply(key: str, reply: object) -> wire.ElicitResult:
    """What came back to one elicitation.

    Raises:
        MCPError: it is no such thing.
    """
    try:
        return wire.ElicitResult.model_validate(reply)
    except ValidationError:
        raise invalid(
            f"inputResponses[{key!r}] is no result of an elicitation: "
            '{"action": "accept", "content": {...}}, or "decline" or "cancel"'
        ) from None


def _why(record: TaskRecord, key: str) -> str:
    if key in record.closed:
        stopped = record.phase is Phase.CANCELLING or record.phase in OVER
        return "closed: the task has stopped" if stopped else "already answered"
    return "somebody else is asked" if record.ask(key) else "not asked"
