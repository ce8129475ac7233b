"""Metrics of one engine.

Tasks are counted by phase as long as they are not over: what is over may be purged any time, and
is counted once, by `interlock.transitions` and `interlock.task.duration`.  Where others share the
store, nobody can count what they do: then `counted` says how many there are.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from interlock import OVER, CallSeen, Event, JsonValue, Phase, Statistics, TaskRecord, TurnSeen
from interlock._memory import IN_DOUBT
from interlock_adapters._redact import Redactor, Value
from interlock_adapters.telemetry._names import kind_of, safe_code, usage_of

__all__ = ["Metrics"]

#: Buckets, in seconds: of commits, of calls and turns, and of what may wait for a person.
COMMIT_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
CALL_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
TASK_S: Final = (0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0)
#: Tasks of which is kept since when they are in their phase; of others nothing is measured.
#: Where others share the store, some of them go on elsewhere, and nobody here hears of it.
SINCE_MAX: Final = 100_000
TOKENS: Final = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576)


class Metrics:
    """Counts and measures.  Of each task that runs or queues it keeps since when."""

    def __init__(self, meter: Meter, redactor: Redactor) -> None:
        self._redactor: Final = redactor
        self._statistics: Callable[[], Statistics] | None = None
        self._phases: Final[Counter[str]] = Counter()
        #: By task: the number of its last event as it was then, and since when.
        self._since: Final[dict[str, tuple[int, float]]] = {}
        #: Tasks by phase of all who share the store; None where nobody else does.
        self._counted: Mapping[Phase, int] | None = None
        self._in_doubt = 0
        #: Tasks that were counted, until all are that were there when the engine opened.
        self._known: set[str] | None = set()
        self._began: Final[dict[TurnSeen | CallSeen, float]] = {}
        self._transitions: Final = meter.create_counter(
            "interlock.transitions", "{transition}", "Committed events of tasks."
        )
        self._commits: Final = meter.create_histogram(
            "interlock.commit.duration",
            "s",
            "How long commits take.",
            explicit_bucket_boundaries_advisory=COMMIT_S,
        )
        self._stays: Final = meter.create_histogram(
            "interlock.task.phase.duration",
            "s",
            "How long tasks stay in a phase: in the queue, running, waiting for a person.",
            explicit_bucket_boundaries_advisory=TASK_S,
        )
        self._lives: Final = meter.create_histogram(
            "interlock.task.duration",
            "s",
            "How long tasks take from submission to outcome.",
            explicit_bucket_boundaries_advisory=TASK_S,
        )
        self._turns: Final = meter.create_histogram(
            "interlock.turn.duration",
            "s",
            "How long turns take.",
            explicit_bucket_boundaries_advisory=CALL_S,
        )
        self._calls: Final = meter.create_histogram(
            "interlock.call.duration",
            "s",
            "How long calls of tools and functions take.",
            explicit_bucket_boundaries_advisory=CALL_S,
        )
        self._models: Final = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long model calls take.",
            explicit_bucket_boundaries_advisory=CALL_S,
        )
        self._tokens: Final = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of model calls.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._refusals: Final = meter.create_counter(
            "interlock.tool.refusals", "{call}", "Tool calls that the gate refused."
        )
        self._observe(meter)

    def _observe(self, meter: Meter) -> None:
        """What is looked at when somebody asks."""

        def by_phase(_: CallbackOptions) -> Iterable[Observation]:
            counts = {**self._phases}
            if self._counted is not None:
                counts = {p.value: n for p, n in self._counted.items() if p not in OVER}
            return [
                Observation(count, self._about({"interlock.phase": phase}))
                for phase, count in counts.items()
            ]

        def in_doubt(_: CallbackOptions) -> Iterable[Observation]:
            return [] if self._counted is not None else [Observation(self._in_doubt)]

        meter.create_observable_gauge(
            "interlock.tasks", [by_phase], "{task}", "Tasks that are not over, by phase."
        )
        meter.create_observable_gauge(
            "interlock.calls.in_doubt", [in_doubt], "{call}", "Calls that a person has to judge."
        )
        for name, unit, what in (
            ("running", "{task}", "Tasks that hold a slot."),
            ("queued", "{task}", "Tasks that wait for a slot."),
            ("live", "{task}", "Tasks that something happens to in this process."),
            ("abandoned", "{turn}", "Turns that were given up and have not ended."),
            ("quarantined", "{task}", "Tasks that could not be read."),
        ):
            held = self._held(name)
            meter.create_observable_gauge(f"interlock.engine.{name}", [held], unit, what)

    def _held(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            statistics = self._statistics
            return [] if statistics is None else [Observation(getattr(statistics(), name))]

        return observed

    def opened(self, statistics: Callable[[], Statistics]) -> None:
        """The engine opens; what it finds follows."""
        for kept in (self._phases, self._since, self._began):
            kept.clear()
        self._in_doubt, self._known, self._counted = 0, set(), None
        self._statistics = statistics

    def closed(self) -> None:
        """The engine is closed."""
        self._statistics = None

    def counted(self, phases: Mapping[Phase, int]) -> None:
        """How many tasks are in each phase, where others share the store."""
        self._counted = phases

    def found(self, records: Sequence[TaskRecord], *, last: bool) -> None:
        """Count tasks that were not finished when the engine opened."""
        if self._known is not None:
            for record in records:
                self._count_once(record, self._known)
        if last:
            self._known = None  # Whatever there is was counted, and what comes is new.

    def _count_once(self, record: TaskRecord, known: set[str]) -> None:
        if record.task_id not in known:
            known.add(record.task_id)
            self._count(record, 1)

    def _count(self, record: TaskRecord, by: int) -> None:
        """A task is as the record has it; with -1, it is so no more."""
        if record.phase not in OVER:
            self._phases[record.phase.value] += by
            self._in_doubt += by * sum(ask.key.startswith(IN_DOUBT) for ask in record.asks)

    def committed(
        self,
        before: TaskRecord | None,
        record: TaskRecord,
        events: Sequence[Event],
        seconds: float,
    ) -> None:
        """Count the events, and measure what came to its end with them."""
        self._commits.record(seconds)
        if self._known is not None:
            if before is not None:
                self._count_once(before, self._known)
            self._known.add(record.task_id)
        if before is not None:
            self._count(before, -1)
        self._count(record, 1)
        seq, since = self._since.pop(record.task_id, (0, None))
        if since is None or (before is not None and before.seq != seq):
            since = None if before is None else _since(before)
        for event in events:
            source = "" if event.source is None else event.source.value
            moved: dict[str, Value | None] = {
                "interlock.trigger": event.trigger.value,
                "interlock.source": source,
                "interlock.dest": event.dest.value,
            }
            self._transitions.add(1, self._about(moved))
            if event.source is not event.dest:
                self._moved(record, event, since)
                since = event.at
        if since is not None and record.phase not in OVER and not record.asks:
            self._since[record.task_id] = record.seq, since
            if len(self._since) > SINCE_MAX:
                del self._since[next(iter(self._since))]

    def _moved(self, record: TaskRecord, event: Event, since: float | None) -> None:
        source = event.source
        if source is not None and source not in OVER and since is not None:
            about = self._about({"interlock.phase": source.value})
            self._stays.record(max(0.0, event.at - since), about)
        if event.dest in OVER and source not in OVER:
            about = self._about({"interlock.task.outcome": event.dest.value})
            self._lives.record(max(0.0, event.at - record.identity.created_at), about)

    def began(self, what: TurnSeen | CallSeen) -> None:
        """A turn or call begins."""
        self._began[what] = time.perf_counter()

    def turn_ended(self, turn: TurnSeen, outcome: str, error: str) -> None:
        """Measure a turn."""
        about: dict[str, Value | None] = {
            "gen_ai.agent.name": turn.agent,
            "interlock.turn.outcome": outcome,
            "error.type": safe_code(error),
        }
        if (took := self._took(turn)) is not None:
            self._turns.record(took, self._about(about))

    def call_ended(self, call: CallSeen, outcome: str, error: str, value: JsonValue) -> None:
        """Measure a call, and the tokens of a model's."""
        took = self._took(call)
        if took is None:
            return
        about: dict[str, Value | None] = {"error.type": safe_code(error)}
        if call.model is None:
            about["interlock.call.kind"] = kind_of(call)
            about["interlock.call.name"] = call.tool or call.name
            about["interlock.call.outcome"] = outcome
            self._calls.record(took, self._about(about))
            return
        about["gen_ai.operation.name"] = "chat"
        about["gen_ai.request.model"] = call.model.model
        about["gen_ai.provider.name"] = call.model.provider
        self._models.record(took, self._about(about))
        usage = usage_of(call, outcome, value)
        if usage is not None:
            del about["error.type"]
            for kind, tokens in zip(("input", "output"), usage, strict=True):
                self._tokens.record(tokens, self._about({**about, "gen_ai.token.type": kind}))

    def refused(self, tool: str, error: str) -> None:
        """Count a refusal."""
        about = {"interlock.tool": tool, "error.type": safe_code(error)}
        self._refusals.add(1, self._about(about))

    def _took(self, what: TurnSeen | CallSeen) -> float | None:
        """Seconds since it began; None if that was before the engine opened."""
        began = self._began.pop(what, None)
        return None if began is None else time.perf_counter() - began

    def _about(self, attributes: Mapping[str, Value | None]) -> Mapping[str, Value]:
        return self._redactor.attributes(attributes)


def _since(record: TaskRecord) -> float | None:
    """When a task came into its phase, as far as its record says."""
    match record.phase.kin:
        case Phase.SUBMITTED:
            return record.updated_at  # Nothing happens to it there.
        case Phase.WAITING_INPUT | Phase.WAITING_AUTH:
            return min(ask.asked_at for ask in record.asks)
        case _:
            return None
