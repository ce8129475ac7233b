"""Says that something was committed: an observer in front of another one, or alone."""

from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Final

from interlock import CallSeen, Event, JsonValue, Observer, Statistics, TaskRecord, TurnSeen
from interlock._observer import CallOutcome, TurnOutcome


class Changes:
    """An `interlock.Observer`; what it is told it passes on."""

    def __init__(self, to: Observer | None = None) -> None:
        """Pass everything on to `to`, if there is one."""
        self._to: Final = to
        #: Called after each commit; it must not wait.
        self.heard: Callable[[], None] | None = None

    def opened(self, statistics: Callable[[], Statistics]) -> None:
        """See `Observer`, also for the others."""
        if self._to is not None:
            self._to.opened(statistics)

    def found(self, records: Sequence[TaskRecord], *, last: bool) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.found(records, last=last)

    def closed(self) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.closed()

    def submitting(self, task_id: str, owner: str, context_id: str, agent: str) -> str | None:
        """Pass it on."""
        if self._to is None:
            return None
        return self._to.submitting(task_id, owner, context_id, agent)

    def submitted(self, task_id: str) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.submitted(task_id)

    def committed(
        self,
        before: TaskRecord | None,
        record: TaskRecord,
        events: Sequence[Event],
        seconds: float,
    ) -> None:
        """Something changed."""
        if self.heard is not None:
            self.heard()
        if self._to is not None:
            self._to.committed(before, record, events, seconds)

    def turn_began(self, turn: TurnSeen, context: Context) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.turn_began(turn, context)

    def turn_ended(self, turn: TurnSeen, outcome: TurnOutcome, error: str) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.turn_ended(turn, outcome, error)

    def call_began(self, call: CallSeen) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.call_began(call)

    def call_ended(
        self, call: CallSeen, outcome: CallOutcome, error: str, value: JsonValue
    ) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.call_ended(call, outcome, error, value)

    def refused(self, turn: TurnSeen, tool: str, error: str) -> None:
        """Pass it on."""
        if self._to is not None:
            self._to.refused(turn, tool, error)
