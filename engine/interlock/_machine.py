"""The one door through which a task moves: `fire`.

The table is run by a `transitions.Machine` that is built once for all tasks.  Tasks
are never bound to it: each firing hands it a throw-away draft, so that the machine
can touch nothing else, and a task costs no machine.

This is the only module that knows `transitions`.  It is not a runtime: it never
waits, reads no clock and acts on nothing (specs/architecture.md).
"""

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from transitions import Machine, MachineError, State, Transition
from transitions.core import Condition

from interlock._changes import Draft
from interlock._effects import Effect
from interlock._event import Event, Signal
from interlock._extension import extended
from interlock._guards import Guard
from interlock._lint import lint, phases_of
from interlock._phases import ANSWERS, Phase, Trigger
from interlock._record import OWNED, Identity, Queued, TaskRecord
from interlock._transitions import TABLE, Row
from interlock.errors import AnswerInvalid, EngineBug, GuardRefused, IllegalTrigger, StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

# At DEBUG the library formats several lines for each trigger, which makes it ten times slower.
logging.getLogger("transitions").setLevel(logging.WARNING)


class Move(NamedTuple):
    """What a firing came to: the next record, the event to commit, the work to do then."""

    record: TaskRecord
    event: Event
    effects: tuple[Effect, ...]


def _strictly(guard: Guard, record: TaskRecord, signal: Signal) -> bool:
    held = guard.holds(record, signal)
    if held is True or held is False:
        return held
    # The library would take "yes" for a no, and a coroutine for a yes.
    raise EngineBug(f"guard {guard.name} answered {held!r}, not True or False")


class _RowCondition(Condition):
    """Whether the guards of one row let a signal pass; if so, the draft knows the row.

    Rows of one (source, trigger) share their `requires`: what held for one of them is
    not asked again for the next, and what did not hold never will.
    """

    def __init__(self, row: Row) -> None:
        super().__init__(row.trigger.value)
        self._row: Final = row

    def check(self, event_data: Any) -> bool:
        """True if every guard holds."""
        draft: Draft = event_data.model
        signal: Signal = event_data.args[0]
        row, record = self._row, draft.record
        if row.requires is not draft.held:
            if row.requires is draft.refused:
                return False
            for guard in row.requires:
                if not _strictly(guard, record, signal):
                    draft.refused = row.requires
                    return False
            draft.held = row.requires
        if row.when is not None and not _strictly(row.when, record, signal):
            return False
        draft.row = row
        return True


class _RowTransition(Transition):
    """A transition whose one condition is its row."""

    def __init__(self, *args: Any, row: Row, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._row: Final = row
        self.conditions = [_RowCondition(row)]

    def execute(self, event_data: Any) -> bool:
        """Move if the row lets the signal pass.

        A row has no callbacks: the library's way past all the places where it would call and
        log some is half of what a firing costs.
        """
        moved = self._eval_conditions(event_data)
        if moved:
            event_data.model.phase = self._row.dest
        return moved


class _NamedState(State):
    """A state with its name at hand: the library asks for it six times at every firing."""

    # Instead of a property that asks an enumeration: a tenth of all that a firing costs.
    name: str = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = super().name  # pyright: ignore[reportIncompatibleMethodOverride]


class _RowMachine(Machine):
    state_cls = _NamedState
    transition_cls = _RowTransition


def firing(table: "Sequence[Row]") -> "dict[Trigger, Callable[[Draft, Signal], bool]]":
    """What fires each trigger of a table, sound or not: whether a row let the signal pass.

    It moves the phase of a draft and names the row; the row's change is the caller's to make.
    """
    machine = _RowMachine(
        model=None,
        states=list(phases_of(table)),
        initial=None,
        auto_transitions=False,
        send_event=True,
        model_attribute="phase",
    )
    for row in table:
        if row.source is not None:
            machine.add_transition(
                row.trigger.value,
                row.source,
                row.dest,
                row=row,
            )
    return {Trigger(name): event.trigger for name, event in machine.events.items()}


class Lifecycle:
    """A checked transition table, ready to fire.

    Raises:
        ValueError: the table is not sound; the message lists every finding.
    """

    def __init__(self, table: "Sequence[Row]") -> None:
        findings = lint(table)
        if findings:
            raise ValueError("the lifecycle is not sound:\n  " + "\n  ".join(findings))
        self.table: Final = tuple(table)
        #: Every phase that the table knows, in the order of a task's life.
        self.phases: Final = phases_of(self.table)
        self._rows: Final = {row.key: row for row in self.table}
        self._by_source: Final[dict[tuple[Phase | None, Trigger], list[Row]]] = {}
        for row in self.table:
            self._by_source.setdefault((row.source, row.trigger), []).append(row)
        self._fire: Final = firing(self.table)

    def extend(self, *phases: Phase, rows: "Sequence[Row]" = ()) -> "Lifecycle":
        """The same with further phases to wait in (`Phase.further`), and further rows.

        A task waits in such a phase for asks that name it (`TaskContext.ask`, `phase`); an open
        decision shows first, then the phases in the order in which they were added, then
        `waiting_input`.  Each gets all the rows that a wait needs: it is answered, declined,
        expires, is withdrawn, cancelled and overrun like the phase that it is like.

        The order is part of what is stored: add a new phase behind those in use (decision 0012).

        Rows of one's own (`interlock.lifecycle`) come first among those of their (source,
        trigger), and so need a `when` where there are others.

        Raises:
            TypeError: a phase is no `Phase`, or a row no `Row`.
            ValueError: what comes of it is not sound; the message lists every finding.
        """
        return Lifecycle(extended(self.table, phases, rows))

    def submit(self, signal: Signal) -> Move:
        """Make a task out of a `submit` signal; `data` is a `_payload.Submitted`."""
        data = signal.data
        identity = Identity(
            data["task_id"],
            data["owner"],
            data["context_id"],
            signal.at,
            data["due"],
        )
        record = TaskRecord(identity, Phase.SUBMITTED, Queued(), 1, 0, 0, signal.at)
        event = Event(1, signal.at, 0, Trigger.SUBMIT, None, Phase.SUBMITTED, signal.actor, data)
        return Move(record, event, self._rows[None, Trigger.SUBMIT, Phase.SUBMITTED].effects)

    def fire(self, record: TaskRecord, signal: Signal) -> Move:
        """Move one task, and return what must now be committed and done about it.

        Pure and synchronous: nothing but the returned move comes of it.

        Raises:
            IllegalTrigger: the phase has no transition for the trigger.
            GuardRefused: it has one, and a guard refused it; `AnswerInvalid` is one of these.

        In every case `record` is unchanged: records are immutable.
        """
        draft = Draft(record)
        try:
            moved = self._fire[signal.trigger](draft, signal)
        except (MachineError, KeyError, ValueError):  # The last: the phase is of another lifecycle.
            if (record.phase, signal.trigger) in self._by_source:
                raise
            raise IllegalTrigger(
                record.task_id,
                record.phase,
                signal.trigger,
                allowed=self.allowed(record.phase),
                shown=record.shown,
                closed=_closed_ask(record, signal),
            ) from None
        if not moved:
            raise self._refusal(record, signal)
        # The phase of the draft has moved already; nobody sees a draft whose change fails.
        row = cast("Row", draft.row)
        row.change(draft, signal)
        assert type(draft.details) is OWNED[draft.phase.kin], (draft.phase, draft.details)
        return Move(
            TaskRecord(
                record.identity,
                draft.phase,
                draft.details,
                record.seq + 1,
                draft.epoch,
                draft.attempt,
                _changed_at(record, signal),
                draft.closed,
                draft.calls,
            ),
            Event(
                record.seq + 1,
                signal.at,
                draft.epoch,
                signal.trigger,
                record.phase,
                draft.phase,
                signal.actor,
                signal.data,
            ),
            row.effects,
        )

    def allowed(self, phase: Phase) -> tuple[Trigger, ...]:
        """The triggers that have a row in that phase, in the order of the table."""
        return tuple(dict.fromkeys(row.trigger for row in self.table if row.source is phase))

    def fold(self, events: "Iterable[Event]") -> TaskRecord:
        """The record that a log amounts to.

        Raises:
            StoreCorrupt: the log has a gap, or a move that the table does not declare.
        """
        record: TaskRecord | None = None
        for event in events:
            record = self._first(event) if record is None else self.follow(record, event)
        if record is None:
            raise StoreCorrupt("the log is empty")
        return record

    def follow(self, record: TaskRecord, event: Event) -> TaskRecord:
        """The record after one more event that somebody else committed.

        Raises:
            StoreCorrupt: it does not follow.
        """
        with _readable(event, record.seq + 1):
            return self._replayed(record, event, _signal_of(event))

    def _first(self, event: Event) -> TaskRecord:
        with _readable(event, 1):
            return self._begun(event, _signal_of(event))

    def _begun(self, event: Event, signal: Signal) -> TaskRecord:
        if event.trigger is not Trigger.SUBMIT:
            raise StoreCorrupt(f"a log begins with submit, not {event.trigger}")
        move = self.submit(signal)
        if move.event != event:
            raise StoreCorrupt(f"event {event.seq} is not the submission it should be")
        return move.record

    def _replayed(self, record: TaskRecord, event: Event, signal: Signal) -> TaskRecord:
        """The committed move once more, without its guards: they held when it was made."""
        row = self._rows.get((record.phase, event.trigger, event.dest))
        if row is None or event.source is not record.phase:
            raise StoreCorrupt(
                f"event {event.seq}: no row {event.trigger} from {record.phase} to {event.dest}"
            )
        draft = Draft(record)
        row.change(draft, signal)
        if type(draft.details) is not OWNED[row.dest.kin] or draft.epoch != event.epoch:
            raise StoreCorrupt(f"event {event.seq} does not follow from the events before it")
        return TaskRecord(
            record.identity,
            row.dest,
            draft.details,
            event.seq,
            draft.epoch,
            draft.attempt,
            _changed_at(record, signal),
            draft.closed,
            draft.calls,
        )

    def _refusal(self, record: TaskRecord, signal: Signal) -> GuardRefused:
        """Which guard said no; the first of the first row names the reason."""
        for row in self._by_source[record.phase, signal.trigger]:
            for guard in row.requires:
                at = (record.task_id, record.phase, signal.trigger, guard.name)
                # Of what judges an answer the faults say it all, and are work to find.
                if guard.problems is not None:
                    if problems := guard.problems(record, signal):
                        return AnswerInvalid(*at, problems)
                    continue
                if guard.holds(record, signal):
                    continue
                return GuardRefused(*at, guard.explain(signal), allowed=self.allowed(record.phase))
        raise EngineBug(f"no row of {signal.trigger} from {record.phase} holds, and none says why")


def _signal_of(event: Event) -> Signal:
    return Signal(event.trigger, event.data, event.actor, event.at)


@contextmanager
def _readable(event: Event, expected: int) -> "Generator[None]":
    """An event of a log at its place, with the data of its trigger; raises StoreCorrupt."""
    if event.seq != expected:
        raise StoreCorrupt(f"event {event.seq} stands where {expected} should")
    try:
        yield
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        # Only the kind of fault: the data may hold a secret.
        raise StoreCorrupt(
            f"event {event.seq} holds no data of {event.trigger} ({type(error).__name__})"
        ) from None


def _closed_ask(record: TaskRecord, signal: Signal) -> str | None:
    """The ask that an answer is for, if it is closed: then something else was first."""
    key = signal.data.get("key") if signal.trigger in ANSWERS else None
    return key if key in record.closed else None


def _changed_at(record: TaskRecord, signal: Signal) -> float:
    """When the task last changed for whoever looks: book-keeping after the end does not show."""
    return record.updated_at if signal.trigger is Trigger.FINALIZE else signal.at


LIFECYCLE: Final = Lifecycle(TABLE)
fire: Final = LIFECYCLE.fire
fold: Final = LIFECYCLE.fold
