"""What must hold of every task after every step, and of an engine that is at rest."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from interlock._event import Event, Signal
from interlock._machine import Lifecycle
from interlock._memory import OPERATOR
from interlock._phases import OUTCOMES, OVER, Phase, Trigger
from interlock._record import Queued, TaskRecord
from interlock._runtime import Runtime
from interlock._turn import Turn
from interlock.diagram import Key
from interlock.errors import StoreCorrupt
from interlock.testing._oracle import violations
from interlock.testing.fuzz._drive_process import Follower, Process, Receiver
from interlock.testing.fuzz._faults import Disk
from interlock.testing.fuzz._report import USER, Invariant, broken, name_of_check

#: Seconds after which a deadline that has passed is taken for forgotten: an alarm is set for a
#: minute at most, and a store that failed is asked again after a few seconds.
FORGOTTEN_S: Final = 70.0

_CLOSINGS: Final = frozenset(
    {
        Trigger.PROVIDE_INPUT,
        Trigger.DECLINE,
        Trigger.APPROVE,
        Trigger.DENY,
        Trigger.EXPIRE,
        Trigger.WITHDRAW,
    }
)
#: What begins a turn whose reports must not be taken for those of an earlier one.
_BEGINNINGS: Final = frozenset({Trigger.START, Trigger.CLAIM, Trigger.RECOVER})


class Broken(Exception):
    """Something that must hold does not."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind: Final = kind
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that a client was told is done."""

    task_id: str
    #: Of the ask that was closed; "" for a submission.
    key: str
    trigger: Trigger
    #: Part of what the event must hold.
    data: Mapping[str, Any]
    #: The token that came with it, with which it may be promised again.
    token: str | None = None


class Oracle:
    """Looks at what changed since it looked last."""

    def __init__(self, disk: Disk, lifecycle: Lifecycle, invariants: Sequence[Invariant]) -> None:
        self._disk: Final = disk
        self._lifecycle: Final = lifecycle
        self._invariants: Final = invariants
        self._promises: Final[dict[tuple[str, str], Promise]] = {}
        self._folds: Final[dict[str, TaskRecord]] = {}
        #: The rows that were taken so far.
        self.taken: Final[set[Key]] = set()
        #: How far each log was seen, and its last event then: a log only grows.
        self._seen: Final[dict[str, Sequence[Event]]] = {}

    def promised(self, promise: Promise) -> None:
        """A client was told so.

        Raises:
            Broken: another was told otherwise (I07).
        """
        at = (promise.task_id, promise.key)
        before = self._promises.setdefault(at, promise)
        repeated = promise.token is not None and promise.token == before.token
        if before is not promise and not repeated:
            raise Broken("I07", f"{promise.key} of {promise.task_id} was answered twice")
        self._disk.changed[promise.task_id] = None

    def look(self) -> None:
        """Check every task that was written to.

        Raises:
            Broken: something does not hold.
        """
        changed = list(self._disk.changed)
        self._disk.changed.clear()
        for task_id in changed:
            kept = self._disk.kept(task_id)
            if kept is None:
                raise Broken("I18", f"{task_id} was acknowledged and is not there")
            self._look_at(task_id, *kept)
        for left in self._disk.remains():
            raise Broken("purge", f"{left}, which was purged, is kept")

    def look_at_all(self) -> None:
        """Check every task once more, as after a crash.

        Raises:
            Broken: something does not hold.
        """
        self._disk.changed.update(dict.fromkeys(r.task_id for r, _ in self._disk.every()))
        self.look()

    def _look_at(self, task_id: str, record: TaskRecord, log: list[Event]) -> None:
        before = self._seen.get(task_id, ())
        if list(before) != log[: len(before)]:
            raise Broken("I01", f"{task_id}: what its log said is not there any more")
        for violation in violations(log, self._lifecycle.table):
            kind, _, words = violation.partition(": ")
            raise Broken(kind, f"{task_id}: {words}")
        _check_asks(task_id, log[len(before) :])
        for one, following in pairwise(log):
            if following.trigger in _BEGINNINGS and following.epoch <= one.epoch:
                raise Broken("I17", f"{task_id}: event {following.seq} uses an epoch again")
        self._check_fold(record, log)
        self.taken.update((e.source, e.trigger, e.dest) for e in log[len(before) :])
        self._seen[task_id] = tuple(log)
        for key in dict.fromkeys(str(event.data.get("key")) for event in log):
            if (promise := self._promises.get((task_id, key))) is not None:
                self._check_promise(promise, log)
        for check in self._invariants:
            if (what := broken(check, record, tuple(log))) is not None:
                raise Broken(f"{USER}:{name_of_check(check)}", what)

    def _check_fold(self, record: TaskRecord, log: list[Event]) -> None:
        try:
            folded = self._folded(record.task_id, log)
            if record.phase is Phase.FINALIZED and folded == record:
                stored = json.loads(json.dumps([event.to_json() for event in log]))
                folded = self._lifecycle.fold(Event.from_json(entry) for entry in stored)
        except (StoreCorrupt, AssertionError, KeyError, TypeError, ValueError) as error:
            raise Broken("I20", f"{record.task_id}: {error}") from None
        if folded != record:
            raise Broken("I20", f"{record.task_id}: the record is not the fold of its log")

    def _folded(self, task_id: str, log: Sequence[Event]) -> TaskRecord:
        """The fold of the log, going on from what it was when it was looked at last."""
        folded = self._folds.get(task_id)
        if folded is None:
            folded = self._lifecycle.fold(log)
        else:
            for event in log[folded.seq :]:
                signal = Signal(event.trigger, event.data, event.actor, event.at)
                folded = self._lifecycle._replayed(folded, event, signal)  # noqa: SLF001  as `fold`
        self._folds[task_id] = folded
        return folded

    def _check_promise(self, promise: Promise, log: Sequence[Event]) -> None:
        if not promise.key:
            return
        closings = [
            event
            for event in log
            if event.data.get("key") == promise.key and event.trigger in _CLOSINGS
        ]
        what = f"{promise.trigger} of {promise.key} of {promise.task_id}"
        if not closings:
            raise Broken("I18", f"{what} was acknowledged and is not in the log")
        event = closings[0]
        if event.trigger is not promise.trigger or any(
            event.data.get(name) != value for name, value in promise.data.items()
        ):
            raise Broken("I18", f"{what} was acknowledged, and the log says otherwise")

    def check_promises(self) -> None:
        """Everything that was acknowledged is in the logs.

        Raises:
            Broken: something is not (I18).
        """
        for promise in self._promises.values():
            kept = self._disk.kept(promise.task_id)
            if kept is None:
                raise Broken("I18", f"{promise.task_id} was acknowledged and is not there")
            self._check_promise(promise, kept[1])


def check_still(process: Process, disk: Disk) -> None:
    """Check an engine in which nothing moves until time goes on or somebody calls.

    Raises:
        Broken: a task should go on and does not, or something is held for what is over.
    """
    runtime = process.runtime
    assert runtime is not None
    now = process.clock.now()
    for record in disk.records:
        for kind, words in _faults(process, runtime, record, now):
            raise Broken(kind, f"{record.task_id}: {words}")
    running = sum(record.phase is Phase.RUNNING for record in disk.records)
    if running < runtime.limits.running_turns_max:
        for record in disk.records:
            if isinstance(record.details, Queued) and record.details.not_before is None:
                raise Broken("start", f"{record.task_id}: it waits for a slot although one is free")


def _faults(
    process: Process, runtime: Runtime, record: TaskRecord, now: float
) -> Iterator[tuple[str, str]]:
    cell = runtime.writer.at_hand(record.task_id)
    turn = None if cell is None else cell.turn
    given_up = [turn for turn in runtime.abandoned if turn.task_id == record.task_id]
    if process.alive.turns[record.task_id] > 1 and not given_up:
        yield "turns", "two turns of it are alive"
    if cell is not None and cell.inbox and not cell.busy:
        yield "inbox", "nobody empties its inbox"
    if record.phase is Phase.RUNNING:
        yield from not_running(turn, record)
    if record.phase is Phase.FINALIZED and turn is not None:
        yield "I21", "it is finalized and has a turn"
    watched = runtime.courier.pending(record.task_id)
    if record.phase in OUTCOMES and not watched and (turn is None or turn.over):
        yield "I21", "it is over, nothing is left of it, and it is not finalized"
    if record.due is not None and record.due + FORGOTTEN_S < now and record.phase not in OVER:
        yield "timer", f"its deadline passed {now - record.due:.0f} s ago"


def not_running(turn: Turn | None, record: TaskRecord) -> Iterator[tuple[str, str]]:
    """Why a task that is running, with this turn, does not go on; kinds and words."""
    if turn is None:
        yield "I29", "it is running, and nobody runs it"
    elif turn.parked or turn.stopping:
        return
    elif turn.over:
        yield "I29", "it is running, and its turn has ended"
    else:
        replies = turn.memory.replies
        for key in turn._waits:  # noqa: SLF001  the oracle looks inside
            if key in replies and not record.asks:
                yield "I29", f"it is running, and still waits for {key}, which is answered"


def check_follower(follower: Follower, disk: Disk, *, still: bool) -> None:
    """Check what a client has seen.

    Raises:
        Broken: it is no gap-free part of the log, or less than there is (I24), or has more than
            one last event (I33).
    """
    kept = disk.kept(follower.task_id)
    assert kept is not None
    log = kept[1]
    begin = follower.place - len(follower.seen)
    if follower.seen != log[begin : follower.place]:
        numbers = [event.seq for event in follower.seen]
        raise Broken("I24", f"{follower.name} saw events {numbers} of {follower.task_id}")
    ends = [event.seq for event in follower.seen if event.dest in OUTCOMES]
    if len(ends) > 1 or (ends and ends[0] != follower.place):
        raise Broken("I33", f"{follower.name} saw something after the end of {follower.task_id}")
    if still and follower.connected and not follower.ended:
        there = sum(event.trigger is not Trigger.FINALIZE for event in log)
        if follower.place < there:
            raise Broken("I24", f"{follower.name} was not told of event {follower.place + 1}")


def check_receiver(receiver: Receiver) -> None:
    """Check what was delivered.

    Raises:
        Broken: there was a gap.
    """
    for gap in receiver.gaps:
        raise Broken("delivery", gap)


def _check_asks(task_id: str, events: Sequence[Event]) -> None:
    """An ask is open for a while when it stands in the log: else nobody could answer it."""
    for event in events:
        if event.trigger is not Trigger.ASK or event.data["due"] > event.at:
            continue
        # An operator has as long as the task: one whose own deadline has passed is over anyway.
        if not event.data["key"].startswith(OPERATOR):
            raise Broken("I09", f"{task_id}: event {event.seq} asks what is over already")
