"""What an engine does, for OpenTelemetry: spans, metrics, and transitions in the log.

    telemetry = Telemetry(tracer_provider=tracers, meter_provider=meters)
    engine = Engine(agent, observer=telemetry)

Needs `interlock[telemetry]`, which is OpenTelemetry's API alone: what becomes of the spans and
metrics is for the SDK and exporters to say that the service sets up.  Without any it costs little
and does nothing.  No span, metric or log line has content, such as what people wrote, arguments,
results, messages of errors or owners, unless it is asked for; `redact` is then still asked of
everything that leaves, names included, and a hook that raises lets nothing out.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Final

from interlock import (
    CallSeen,
    Event,
    JsonValue,
    Phase,
    Statistics,
    TaskRecord,
    TurnSeen,
    __version__,
)

try:
    from opentelemetry import context as otel
    from opentelemetry import trace
    from opentelemetry.metrics import MeterProvider, get_meter_provider
    from opentelemetry.trace import TracerProvider, get_tracer_provider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.telemetry needs the telemetry extra: "
        "pip install 'interlock[telemetry]'",
        name=_missing.name,
    ) from _missing

from interlock_adapters._http.asgi import App, Receive, Scope, Send
from interlock_adapters._redact import REDACTED, Redact, Redactor
from interlock_adapters.telemetry._metrics import Metrics
from interlock_adapters.telemetry._names import Langfuse
from interlock_adapters.telemetry._spans import Spans

__all__ = ["REDACTED", "Langfuse", "Redact", "Telemetry", "TraceParent"]

#: By what spans and metrics say where they come from.
SCOPE: Final = "interlock"

_moves: Final = logging.getLogger("interlock.transitions")
_W3C: Final = TraceContextTextMapPropagator()


class Telemetry:
    """An `interlock.Observer` of one engine at a time; see the module for what it lets out."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        redact: Redact | None = None,
        content: bool = False,
        langfuse: Langfuse | None = None,
    ) -> None:
        """Make spans and metrics through these providers; None are the process's own.

        With `content` spans carry what the task is about: the request, the result, arguments and
        results of calls, the words of errors, each cut off after some thousand characters.
        `langfuse` adds the attributes by which Langfuse groups traces, which name the owner.
        Transitions are logged by `interlock.transitions` at INFO, if that is enabled.
        """
        redactor = Redactor(redact)
        tracer = (tracer_provider or get_tracer_provider()).get_tracer(SCOPE, __version__)
        meter = (meter_provider or get_meter_provider()).get_meter(SCOPE, __version__)
        self._spans: Final = Spans(tracer, redactor, langfuse, content=content)
        self._metrics: Final = Metrics(meter, redactor)

    def opened(self, statistics: Callable[[], Statistics]) -> None:
        """See `Observer.opened`, and so on for the others."""
        self._spans.reopened()
        self._metrics.opened(statistics)

    def found(self, records: Sequence[TaskRecord], *, last: bool) -> None:
        """Count tasks that were not finished."""
        self._metrics.found(records, last=last)

    def counted(self, phases: Mapping[Phase, int]) -> None:
        """How many tasks are in each phase, for who shares a store with others and asked it.

        The engine does not call it: `Engine.counts` gives the numbers.
        """
        self._metrics.counted(phases)

    def closed(self) -> None:
        """Nothing is held any more."""
        self._metrics.closed()

    def submitting(self, task_id: str, owner: str, context_id: str, agent: str) -> str | None:
        """Begin a span; what is kept with the task is its context."""
        return self._spans.submitting(task_id, owner, context_id, agent)

    def submitted(self, task_id: str) -> None:
        """End it."""
        self._spans.submitted(task_id)

    def committed(
        self,
        before: TaskRecord | None,
        record: TaskRecord,
        events: Sequence[Event],
        seconds: float,
    ) -> None:
        """Count, measure and log what was committed."""
        trace_id = self._spans.trace_of(record.task_id)
        self._spans.committed(record, events)
        self._metrics.committed(before, record, events, seconds)
        if _moves.isEnabledFor(logging.INFO):
            for event in events:
                self._log(record.task_id, event, trace_id or self._spans.trace_of(record.task_id))

    def _log(self, task_id: str, event: Event, trace_id: str) -> None:
        source = "nothing" if event.source is None else event.source.value
        extra = {"task_id": task_id, "seq": event.seq, "trace_id": trace_id}
        said = (task_id, event.seq, event.trigger.value, source, event.dest.value)
        _moves.info("task %s: %d %s: %s -> %s", *said, extra=extra)

    def turn_began(self, turn: TurnSeen, context: Context) -> None:
        """Begin a span that is current for the agent."""
        self._metrics.began(turn)
        self._spans.turn_began(turn, context)

    def turn_ended(self, turn: TurnSeen, outcome: str, error: str) -> None:
        """End it."""
        self._metrics.turn_ended(turn, outcome, error)
        self._spans.turn_ended(turn, outcome, error)

    def call_began(self, call: CallSeen) -> None:
        """Begin a span that is current where the call is made."""
        self._metrics.began(call)
        self._spans.call_began(call)

    def call_ended(self, call: CallSeen, outcome: str, error: str, value: JsonValue) -> None:
        """End it."""
        self._spans.call_ended(call, outcome, error, value)
        self._metrics.call_ended(call, outcome, error, value)

    def refused(self, turn: TurnSeen, tool: str, error: str) -> None:
        """Count a refusal, with a span of its own."""
        self._metrics.refused(tool, error)
        self._spans.refused(turn, tool, error)


class TraceParent:
    """ASGI middleware: spans of a request are part of the trace that its `traceparent` names.

    Put it behind authentication, since whoever sends that header says which traces spans join.
    Where another instrumentation has begun a span for the request already, it does nothing.
    """

    def __init__(self, app: App) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"] if scope["type"] == "http" else ()
        found = [value for name, value in headers if name == b"traceparent"]
        is_traced = trace.get_current_span().get_span_context().is_valid
        if len(found) != 1 or is_traced:
            await self._app(scope, receive, send)
            return
        token = otel.attach(_W3C.extract({"traceparent": found[0].decode("latin-1")}))
        try:
            await self._app(scope, receive, send)
        finally:
            otel.detach(token)
