"""A task as the Tasks extension of MCP shows it (SEP-2663).

MCP says *status*, and has five.  What is shown how is decided in specs/mcp.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import mcp_types as wire

from interlock import (
    OVER,
    AskKind,
    Event,
    Limits,
    OpenAsk,
    Phase,
    Stopping,
    TaskRecord,
    TaskView,
    Trigger,
)
from interlock._guards import is_approver
from interlock.forms import problems_of
from interlock_adapters._shown.times import utc
from interlock_adapters._stops import STOPS
from interlock_adapters.mcp._content import result_of
from interlock_adapters.mcp._forms import elicitation_of, is_secret
from interlock_adapters.mcp._principal import roles_of_request
from interlock_adapters.mcp._tools import Offered

Json: TypeAlias = dict[str, Any]

WORKING: Final = "working"
INPUT_REQUIRED: Final = "input_required"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

_QUEUED: Final = "The task waits for its turn."
_ELSEWHERE: Final = "The task waits for somebody else."


def answerable(record: TaskRecord) -> tuple[OpenAsk, ...]:
    """The open asks that the task's owner, who makes this request, may answer, oldest first.

    By name or in a role.  What only others may is none of the client's questions.
    """
    roles = roles_of_request()
    return tuple(ask for ask in record.asks if is_approver(ask, record.owner, roles))


def time_of(at: float) -> str:
    """A time as MCP writes it (ISO 8601)."""
    return utc(at).isoformat(timespec="milliseconds")


def ttl_ms(limits: Limits) -> int | None:
    """Milliseconds from its creation for which a task is kept at least; None is for ever.

    It is kept for so long after its end, so a client may count from its creation.
    """
    kept = limits.retention
    if kept.tasks_max is not None:
        return round(kept.at_least_s * 1000)
    return None if kept.age_s is None else round(kept.age_s * 1000)


@dataclass(frozen=True, slots=True)
class Client:
    """What a client has said of itself, as far as showing a task depends on it."""

    version: str
    #: Of the era without sessions, in which a server asks in rounds (2026-07-28).
    modern: bool
    #: It has declared that it can show forms, or send people to a page.
    by_form: bool
    by_url: bool
    #: It speaks the Tasks extension.
    tasks: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """How a deployment shows its tasks."""

    limits: Limits
    poll_s: float
    console_url: str | None

    def created(self, record: TaskRecord) -> Json:
        """The answer to a call that became a task."""
        return {"resultType": "task", **self._fields(record, WORKING, None)}

    def console(self, record: TaskRecord) -> str | None:
        """Where people decide about the task in a browser."""
        return self.console_url and self.console_url.replace("{task_id}", record.task_id)

    def askable(self, record: TaskRecord, client: Client) -> tuple[OpenAsk, ...]:
        """What may be put to the client: no secret, unless it can send people to a page."""
        asks = answerable(record)
        if client.by_url and self.console_url is not None:
            return asks
        return tuple(ask for ask in asks if not is_secret(ask))

    def requests(
        self, record: TaskRecord, asks: Sequence[OpenAsk], client: Client
    ) -> dict[str, wire.ElicitRequest]:
        """What the client is asked, by key."""
        console = self.console(record) if client.by_url else None
        return {
            ask.key: elicitation_of(ask, console=console, version=client.version) for ask in asks
        }

    def detailed(
        self, record: TaskRecord, view: TaskView | None, tool: Offered | None, client: Client
    ) -> Json:
        """How a task is.  `view` is its log, needed for what is over.

        `tool` is what was called, None for a task that came another way.
        """
        if record.phase in OVER:
            assert view is not None
            return self._over(view, tool)
        asks = self.askable(record, client)
        if not asks:
            said = _ELSEWHERE if record.asks else _said(record, view)
            return self._fields(record, WORKING, said)
        requests = self.requests(record, asks, client)
        fields = self._fields(record, INPUT_REQUIRED, _prompts(asks))
        fields["inputRequests"] = {key: dumped(asked) for key, asked in requests.items()}
        return fields

    def _over(self, view: TaskView, tool: Offered | None) -> Json:
        record = view.record
        if record.shown is Phase.CANCELLED:
            return self._fields(record, CANCELLED, "The task was cancelled.")
        result = concluded(view, tool)
        if isinstance(result, wire.ErrorData):
            return {**self._fields(record, FAILED, result.message), "error": dumped(result)}
        return {**self._fields(record, COMPLETED, None), "result": dumped(result)}

    def _fields(self, record: TaskRecord, status: str, message: str | None) -> Json:
        fields: Json = {
            "taskId": record.task_id,
            "status": status,
            "createdAt": time_of(record.identity.created_at),
            "lastUpdatedAt": time_of(record.updated_at),
            "ttlMs": ttl_ms(self.limits),
            "pollIntervalMs": round(self.poll_s * 1000),
        }
        if message:
            fields["statusMessage"] = message
        return fields


def concluded(view: TaskView, tool: Offered | None) -> wire.CallToolResult | wire.ErrorData:
    """What a task that is over comes to: the same whether it is waited for or fetched."""
    artifacts = tool is None or tool.settings.artifacts
    result = result_of(view, artifacts=artifacts, wrap=tool is not None and tool.wraps)
    if isinstance(result, wire.ErrorData) or result.is_error or tool is None or not tool.output:
        return result
    problems = problems_of(result.structured_content, tool.output)
    if not problems:
        return result
    # A client that checks would throw it away; this it can show.
    said = f"The task is done, and its result is not what it says: {problems[0]}"
    return wire.CallToolResult(content=[wire.TextContent(text=said)], is_error=True)


def dumped(model: wire.CallToolResult | wire.ErrorData | wire.ElicitRequest) -> Json:
    """As it is sent."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def with_problems(asked: wire.ElicitRequest, problems: Sequence[str]) -> wire.ElicitRequest:
    """The same question once more, after an answer that did not fit."""
    if not problems:
        return asked
    said = f"That did not fit: {'; '.join(problems)}\n{asked.params.message}"
    return asked.model_copy(update={"params": asked.params.model_copy(update={"message": said})})


def _said(record: TaskRecord, view: TaskView | None) -> str | None:
    """What is said of a task that asks nothing."""
    match record.details:
        case Stopping(cause=cause):
            meanwhile, _ = STOPS[cause]
            return meanwhile
        case _ if record.phase is Phase.SUBMITTED:
            return _QUEUED
        case _:
            return None if view is None else _progress(view.events)


def _progress(events: Sequence[Event]) -> str | None:
    """What the agent said last, since it was last asked anything."""
    for event in reversed(events):
        if event.trigger is Trigger.PROGRESS:
            return str(event.data["message"])
        if event.trigger is Trigger.ASK:
            return None
    return None


def _prompts(asks: Sequence[OpenAsk]) -> str:
    """What is asked, for hosts that show nothing else of it."""
    kinds = {ask.kind for ask in asks}
    if len(asks) > 1:
        return f"{len(asks)} questions are open."
    return "A decision is needed." if AskKind.AUTH in kinds else "A question is open."
