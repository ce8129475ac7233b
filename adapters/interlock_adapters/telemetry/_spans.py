"""Spans of tasks: what is asked for when, by whose request, and what it was made of.

    request (of the caller, if it is traced)
      submit                      short; its context is kept in the log with the task
        invoke_agent NAME         one for each turn, also after a restart; linked to the one before
          execute_tool NAME       a tool call; one for each leg
          chat MODEL              a model call
          call NAME               any other call that the journal keeps
        task                      made when the task is over, with its real start and end

A span that lives as long as its task would be lost with the process, so there is none: the short
one at the beginning is what all others hang on, and what the log needs to keep of it is its
`traceparent`.  What a replay hands back from the log has no span a second time.
"""

import json
from collections.abc import Mapping, Sequence
from contextvars import Context, Token
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from interlock import OVER, CallSeen, Event, JsonValue, Phase, TaskRecord, Trigger, TurnSeen
from interlock import Ended as EndedDetails
from interlock_adapters._redact import Redactor, Value
from interlock_adapters.telemetry._names import Langfuse, kind_of, safe_code, usage_of

__all__ = ["Spans", "current_trace"]

#: Characters of content in one attribute.
CONTENT_CHARS_MAX: Final = 16_384
#: Unfinished tasks of which something is kept; of others the last turn is not known.  Where other
#: processes share the store, some of them end elsewhere, and nobody here hears of it.
KNOWN_MAX: Final = 100_000
NS_PER_S: Final = 1_000_000_000
_W3C: Final = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Known:
    """What is known of an unfinished task in this process."""

    context_id: str
    owner: str
    #: The `traceparent` that its spans hang on.
    trace: str | None = None
    last_turn: SpanContext | None = None


@dataclass(frozen=True, slots=True)
class _Open:
    """The span of a call that is being made, current where it is."""

    span: Span
    token: Token[Any]


class Spans:
    """Makes the spans of one engine."""

    def __init__(
        self, tracer: Tracer, redactor: Redactor, langfuse: Langfuse | None, *, content: bool
    ) -> None:
        self._tracer: Final = tracer
        self._redactor: Final = redactor
        self._langfuse: Final = langfuse
        self._content: Final = content
        self._tasks: Final[dict[str, _Known]] = {}
        self._submits: Final[dict[str, Span]] = {}
        self._turns: Final[dict[TurnSeen, Span]] = {}
        self._calls: Final[dict[CallSeen, _Open]] = {}

    # --- tasks ------------------------------------------------------------------------

    def reopened(self) -> None:
        """The engine opens: nothing of before is left."""
        self._tasks.clear()
        self._turns.clear()
        self._calls.clear()

    def submitting(self, task_id: str, owner: str, context_id: str, agent: str) -> str | None:
        """Begin the span of a submission; its `traceparent`."""
        about = {**self._of_task(task_id, owner, context_id), "gen_ai.agent.name": agent}
        span = self._begun("submit", SpanKind.PRODUCER, about, otel.get_current())
        self._submits[task_id] = span
        return _traceparent(trace.set_span_in_context(span))

    def submitted(self, task_id: str) -> None:
        """End the span of a submission that came to nothing, as far as its caller knows."""
        span = self._submits.pop(task_id, None)
        if span is not None:
            span.set_status(Status(StatusCode.ERROR))
            span.end()

    def committed(self, record: TaskRecord, events: Sequence[Event]) -> None:
        """Take note of what became of a task."""
        first = events[0]
        if first.trigger is Trigger.SUBMIT:
            known = _Known(record.context_id, record.owner, first.data.get("trace"))
            self._keep(record.task_id, known)
            self._is_submitted(record.task_id, first)
        if record.phase in OVER:
            for event in events:
                if event.dest in OVER and event.source not in OVER:
                    self._is_over(record, event)

    def _keep(self, task_id: str, known: _Known) -> None:
        self._tasks[task_id] = known
        if len(self._tasks) > KNOWN_MAX:
            del self._tasks[next(iter(self._tasks))]

    def _is_submitted(self, task_id: str, event: Event) -> None:
        span = self._submits.pop(task_id, None)
        if span is not None:
            if self._content:
                self._set(span, {"gen_ai.input.messages": _messages("user", event.data["parts"])})
            span.end()

    def _is_over(self, record: TaskRecord, event: Event) -> None:
        known = self._tasks.pop(record.task_id, None)
        details = record.details
        assert isinstance(details, EndedDetails)
        about: dict[str, Value | None] = {
            **self._of_task(record.task_id, record.owner, record.context_id),
            "interlock.task.outcome": details.outcome.value,
            "interlock.task.attempts": record.attempt,
            "interlock.task.events": event.seq,
            "error.type": safe_code(details.code or ""),
        }
        if self._content:
            about["interlock.task.message"] = details.message
            if event.trigger is Trigger.COMPLETE:
                said = _messages("assistant", event.data["parts"])
                about["gen_ai.output.messages"] = said
        within = _context_of(None if known is None else known.trace)
        begun_at = record.identity.created_at
        span = self._begun("task", SpanKind.INTERNAL, about, within, start=_ns(begun_at))
        if details.outcome is not Phase.COMPLETED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_ns(max(event.at, begun_at)))

    def trace_of(self, task_id: str) -> str:
        """The id of the trace that a task is part of, "" where it is not known."""
        known = self._tasks.get(task_id)
        return "" if known is None or known.trace is None else known.trace[3:35]

    # --- turns ------------------------------------------------------------------------

    def turn_began(self, turn: TurnSeen, context: Context) -> None:
        """Begin the span of a turn, and make it current for its agent."""
        known = self._tasks.get(turn.task_id) or _Known(turn.context_id, turn.owner)
        self._keep(turn.task_id, known)
        known.trace = turn.trace
        about: dict[str, Value | None] = {
            **self._of_task(turn.task_id, turn.owner, turn.context_id),
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": turn.agent,
            "interlock.turn.attempt": turn.attempt,
            "interlock.turn.epoch": turn.epoch,
            "interlock.turn.replay": turn.replay,
        }
        links = [] if known.last_turn is None else [Link(known.last_turn)]
        name = f"invoke_agent {turn.agent}"
        within = _context_of(turn.trace)
        span = self._begun(name, SpanKind.CONSUMER, about, within, links=links)
        known.last_turn = span.get_span_context()
        self._turns[turn] = span
        context.run(otel.attach, trace.set_span_in_context(span))

    def turn_ended(self, turn: TurnSeen, outcome: str, error: str) -> None:
        """End the span of a turn."""
        span = self._turns.pop(turn, None)
        if span is not None:
            self._end(span, {"interlock.turn.outcome": outcome}, error)

    # --- calls ------------------------------------------------------------------------

    def call_began(self, call: CallSeen) -> None:
        """Begin the span of a call, and make it current where it is made."""
        turn = call.turn
        name, kind, about = _of_call(call)
        about |= self._of_task(turn.task_id, turn.owner, turn.context_id)
        if self._content:
            about["gen_ai.tool.call.id"] = call.key
            if call.tool:
                about["gen_ai.tool.call.arguments"] = _json(call.arguments)
        span = self._begun(name, kind, about, self._within(turn))
        token = otel.attach(trace.set_span_in_context(span))
        self._calls[call] = _Open(span, token)

    def call_ended(self, call: CallSeen, outcome: str, error: str, value: JsonValue) -> None:
        """End the span of a call."""
        opened = self._calls.pop(call, None)
        if opened is None:
            return
        otel.detach(opened.token)
        about: dict[str, Value | None] = {"interlock.call.outcome": outcome}
        usage = usage_of(call, outcome, value)
        if usage is not None:
            about["gen_ai.usage.input_tokens"] = usage.input_tokens
            about["gen_ai.usage.output_tokens"] = usage.output_tokens
        if self._content and outcome in {"returned", "failed"}:
            about |= _result(call, value)
        self._end(opened.span, about, error)

    def refused(self, turn: TurnSeen, tool: str, error: str) -> None:
        """A short span for a call that the gate refused."""
        name = _tool_name(tool) or "unknown"
        about: dict[str, Value | None] = {
            **self._of_task(turn.task_id, turn.owner, turn.context_id),
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": _tool_name(tool),
            "interlock.tool": tool,
        }
        within = self._within(turn)
        span = self._begun(f"execute_tool {name}", SpanKind.INTERNAL, about, within)
        self._end(span, {"interlock.call.outcome": "refused"}, error)

    # --- small things -----------------------------------------------------------------

    def _within(self, turn: TurnSeen) -> otel.Context:
        """Where a call is made: the agent may have spans of its own; a thread may have none."""
        current = otel.get_current()
        if trace.get_current_span(current).get_span_context().is_valid:
            return current
        span = self._turns.get(turn)
        return current if span is None else trace.set_span_in_context(span, current)

    def _of_task(self, task_id: str, owner: str, context_id: str) -> dict[str, Value | None]:
        about: dict[str, Value | None] = {
            "interlock.task.id": task_id,
            "gen_ai.conversation.id": context_id,
        }
        if self._langfuse is not None:
            about |= self._langfuse.attributes(owner, context_id)
        return about

    def _begun(
        self,
        name: str,
        kind: SpanKind,
        about: Mapping[str, Value | None],
        within: otel.Context,
        *,
        links: Sequence[Link] = (),
        start: int | None = None,
    ) -> Span:
        return self._tracer.start_span(
            self._redactor.text("name", name),
            context=within,
            kind=kind,
            attributes=self._redactor.attributes(about),
            links=links,
            start_time=start,
        )

    def _set(self, span: Span, about: Mapping[str, Value | None]) -> None:
        span.set_attributes(self._redactor.attributes(about))

    def _end(self, span: Span, about: Mapping[str, Value | None], error: str) -> None:
        self._set(span, {**about, "error.type": safe_code(error)})
        if error:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def current_trace() -> tuple[str, str]:
    """The ids of the trace and span that are current here; "" where there is none."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return "", ""
    return trace.format_trace_id(here.trace_id), trace.format_span_id(here.span_id)


def _traceparent(context: otel.Context) -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier.get("traceparent")


def _context_of(traceparent: str | None) -> otel.Context:
    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return _W3C.extract(carrier, otel.Context())


def _ns(seconds: float) -> int:
    return int(seconds * NS_PER_S)


def _tool_name(tool: str) -> str:
    return tool.partition("/")[2]


def _of_call(call: CallSeen) -> tuple[str, SpanKind, dict[str, Value | None]]:
    kind = kind_of(call)
    about: dict[str, Value | None] = {"interlock.call.kind": kind}
    if kind == "tool":
        about["gen_ai.operation.name"] = "execute_tool"
        about["gen_ai.tool.name"] = _tool_name(call.tool)
        about["interlock.tool"] = call.tool
        return f"execute_tool {_tool_name(call.tool)}", SpanKind.INTERNAL, about
    if call.model is not None:
        about["gen_ai.operation.name"] = "chat"
        about["gen_ai.request.model"] = call.model.model
        about["gen_ai.provider.name"] = call.model.provider
        return f"chat {call.model.model}".rstrip(), SpanKind.CLIENT, about
    about["interlock.call.name"] = call.name
    return f"call {call.name}", SpanKind.INTERNAL, about


def _result(call: CallSeen, value: JsonValue) -> dict[str, Value | None]:
    if call.model is None:
        return {"gen_ai.tool.call.result": _json(value)}
    text = value.get("content") if isinstance(value, dict) else value
    said = text if isinstance(text, str) else _json(value)
    return {"gen_ai.output.messages": _messages("assistant", [{"text": said}])}


def _messages(role: str, parts: Sequence[Any]) -> str:
    """Content in the form that the conventions give to messages."""
    said = [
        {"type": "text", "content": part["text"]}
        if "text" in part
        else {"type": "data", "content": part}
        for part in parts
    ]
    return _json([{"role": role, "parts": said}])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:CONTENT_CHARS_MAX]
