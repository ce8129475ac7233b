"""What a replica writes down of itself, for the audit: who committed what, and started what.

The log of a task does not say which process wrote an event.  Each replica appends what its
engine tells an observer to a file of its own; lines survive the process, since the kernel
keeps them.  Times are of the machine's monotonic clock, which all processes share.
"""

import contextvars
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from interlock import CallSeen, Event, JsonValue, Statistics, TaskRecord, TurnSeen
from interlock._observer import CallOutcome, TurnOutcome


class Witness:
    """An observer that writes lines."""

    def __init__(self, directory: Path) -> None:
        self._pid = os.getpid()
        path = directory / f"replica-{self._pid}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _note(self, **line: Any) -> None:
        # One write for each line: calls are noted on threads, too.
        line |= {"pid": self._pid, "at": time.monotonic()}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def committed(
        self,
        before: TaskRecord | None,
        record: TaskRecord,
        events: Sequence[Event],
        seconds: float,
    ) -> None:
        """See `Observer.committed`: durable, and by this process."""
        del before, seconds
        for event in events:
            self._note(
                committed=record.task_id,
                seq=event.seq,
                epoch=event.epoch,
                trigger=str(event.trigger),
                dest=str(event.dest),
            )

    def call_began(self, call: CallSeen) -> None:
        """See `Observer.call_began`: what cannot be taken back is about to be done."""
        turn = call.turn
        self._note(called=turn.task_id, key=call.key, epoch=turn.epoch)

    # --- the rest is nobody's business ----------------------------------------------------

    def opened(self, statistics: Callable[[], Statistics]) -> None:
        """See `Observer.opened`."""

    def found(self, records: Sequence[TaskRecord], *, last: bool) -> None:
        """See `Observer.found`."""

    def closed(self) -> None:
        """See `Observer.closed`."""

    def submitting(self, task_id: str, owner: str, context_id: str, agent: str) -> str | None:
        """See `Observer.submitting`."""

    def submitted(self, task_id: str) -> None:
        """See `Observer.submitted`."""

    def turn_began(self, turn: TurnSeen, context: contextvars.Context) -> None:
        """See `Observer.turn_began`."""

    def turn_ended(self, turn: TurnSeen, outcome: TurnOutcome, error: str) -> None:
        """See `Observer.turn_ended`."""

    def call_ended(
        self, call: CallSeen, outcome: CallOutcome, error: str, value: JsonValue
    ) -> None:
        """See `Observer.call_ended`."""

    def refused(self, turn: TurnSeen, tool: str, error: str) -> None:
        """See `Observer.refused`."""
