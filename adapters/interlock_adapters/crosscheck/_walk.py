"""Walks through a lifecycle, written down so that an interpreter of another make can follow.

A step is a trigger and what each guard came to; what our own machine made of it stands beside
it.  Two kinds of walk: lives (`Lifecycle.fire` on real records, real guards) and courses (only
phases move, and the guards' answers are drawn).  Lives show that the shipped code and the
documents agree; courses reach every row of any table, also where nobody knows what a trigger
of it carries.

Of the engine's private modules this uses the row machine itself: a course has no record.  The
module is long because both kinds are steered alike.
"""

import math
import random
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from interlock import Lifecycle, Phase, Signal, TaskRecord, Trigger
from interlock._changes import Draft, unchanged
from interlock._machine import firing
from interlock._record import Identity, Queued
from interlock.diagram._document import Declared, Names, beginning, effect_text, guards_of
from interlock.errors import GuardRefused, IllegalTrigger
from interlock.lifecycle import Guard, Row
from interlock_adapters.crosscheck._signals import begun, signal_for

#: How many steps a walk has at most before another begins: a waiting task could go on for ever.
STEPS_MAX: Final = 40
#: How often a step is meant to move: one that the table allows, with data that fit.
_AIMED: Final = 0.8
#: How often such a step leads to the row that the walk is after; others only do not lead away.
_STEERED: Final = 0.5
#: How many signals are tried for one that takes a certain row.
_LOOKS: Final = 6
#: How many tries in vain count as much as one that took the row.
_TRIES: Final = 8


def chance(seed: str) -> random.Random:
    """The same lots for the same seed."""
    return random.Random(seed)  # noqa: S311  (no secret hangs on it)


class Raised(Exception):
    """A guard, or a change, of the lifecycle raises something; says which, and at what."""


class Seen(NamedTuple):
    """What a step came to: the phase after it, and the row and its effects if it moved."""

    phase: str
    row: str | None = None
    effects: tuple[str, ...] = ()


class Step(NamedTuple):
    """What an interpreter is told, in document names, and what ours made of it."""

    trigger: str
    holds: Mapping[str, bool]
    seen: Seen


Trace: TypeAlias = list[Step]


class Walks(NamedTuple):
    """Some traces, and how often each row was taken in them."""

    traces: list[Trace]
    taken: Mapping[str, int]

    @property
    def steps(self) -> int:
        """How many steps they have together."""
        return sum(map(len, self.traces))

    @property
    def missed(self) -> list[str]:
        """Ids of the rows that none of them took, in the order of the table."""
        return [row for row, times in self.taken.items() if not times]


class Course:
    """Our own machine over any table, moved by what the guards are said to come to."""

    def __init__(self, declared: Declared) -> None:
        self.names: Final = Names(declared)
        self.begin: Final = beginning(declared).dest
        self.rows: Final = [row for row in declared.table if row.source is not None]
        self.by_pair: Final[dict[tuple[Phase, Trigger], list[Row]]] = {}
        for row in self.rows:
            assert row.source is not None
            self.by_pair.setdefault((row.source, row.trigger), []).append(row)
        #: For each phase how many rows it is to each phase that can be reached from there.
        self.far: Final = {phase: self._distances(phase) for phase in self.names.phases}
        self.triggers: Final = tuple(dict.fromkeys(row.trigger for row in self.rows))
        self._told: Final = {told: row for row, told in zip(self.rows, self._retold(), strict=True)}
        self._fire: Final = firing(tuple(self._told))
        self._phase: Final = {name: phase for phase, name in self.names.phases.items()}
        self._trigger: Final = {name: trigger for trigger, name in self.names.triggers.items()}

    def _retold(self) -> list[Row]:
        """The rows, with guards that answer what the signal says that they do.

        Rows that share their `requires` go on to do so: the machine asks those once.
        """
        guards = {guard: _told(name) for guard, name in self.names.guards.items()}
        shared = {
            id(row.requires): tuple(guards[guard] for guard in row.requires) for row in self.rows
        }
        return [
            Row(
                row.trigger,
                row.source,
                row.dest,
                unchanged,
                row.effects,
                shared[id(row.requires)],
                None if row.when is None else guards[row.when],
            )
            for row in self.rows
        ]

    def _distances(self, phase: Phase) -> dict[Phase, int]:
        far = {phase: 0}
        todo = [phase]
        for near in todo:
            for row in self.rows:
                if row.source is near and row.dest not in far:
                    far[row.dest] = far[near] + 1
                    todo.append(row.dest)
        return far

    def taken(self, phase: Phase, trigger: Trigger, holds: Mapping[str, bool]) -> Row | None:
        """The row that a step takes, if any."""
        if (phase, trigger) not in self.by_pair:
            return None
        draft = Draft(TaskRecord(_NOBODY, phase, Queued(), 1, 0, 0, 0.0))
        self._fire[trigger](draft, Signal(trigger, holds, "", 0.0))
        return None if draft.row is None else self._told[_row(draft.row)]

    def seen(self, phase: Phase, row: Row | None) -> Seen:
        """A row taken in a phase, in document names."""
        if row is None:
            return Seen(self.names.phases[phase])
        effects = tuple(map(effect_text, row.effects))
        return Seen(self.names.phases[row.dest], self.names.rows[row], effects)

    def told_again(self, trace: Trace) -> Trace:
        """The same triggers and answers from the beginning, with what ours makes of them."""
        again: Trace = []
        phase = self.begin
        for step in trace:
            row = self.taken(phase, self._trigger[step.trigger], step.holds)
            again.append(step._replace(seen=self.seen(phase, row)))
            phase = phase if row is None else row.dest
        return again


_NOBODY: Final = Identity("", "", "", 0.0, 0.0)


def _row(anything: object) -> Row:
    assert isinstance(anything, Row)
    return anything


def _told(name: str) -> Guard:
    return Guard(name, lambda _record, signal: signal.data[name], "")


class _Steering:
    """Which row to go for: one that was rarely taken, on the shortest way that the table has."""

    def __init__(self, course: Course, rng: random.Random) -> None:
        self._course, self._rng = course, rng
        self.times: Final = dict.fromkeys((course.names.rows[row] for row in course.rows), 0)
        self._goal: Row | None = None
        #: How often each row was tried: one that no guards let pass must not be all there is.
        self._tried: Final[Counter[Row]] = Counter()

    def took(self, row: Row | None) -> None:
        """A step took that row."""
        if row is not None:
            self.times[self._course.names.rows[row]] += 1
        if row is self._goal:
            self._goal = None

    def next_row(self, phase: Phase) -> Row | None:
        """The row to try next, None where the phase is final."""
        here = [row for row in self._course.rows if row.source is phase]
        if not here:
            return None
        far = self._course.far
        if self._goal is None or self._goal.source not in far[phase]:
            self._goal = self._rarest(phase)
        if self._rng.random() > _STEERED:
            return self.stays(phase)
        if self._goal.source is phase:
            wanted = self._goal
            self._tried[wanted] += 1
            if self._tried[wanted] % _TRIES == 0:
                self._goal = None  # Another one's turn.
            return wanted
        left = far[phase]
        goal = self._goal.source
        assert goal is not None
        return self._rng.choice(
            [row for row in here if far[row.dest].get(goal, left[goal]) < left[goal]]
        )

    def stays(self, phase: Phase) -> Row | None:
        """A row to try where the wanted one would not be taken: one that does not lead away."""
        goal = None if self._goal is None else self._goal.source
        here = [row for row in self._course.rows if row.source is phase]
        near = [row for row in here if goal in self._course.far[row.dest]]
        return self._rng.choice(near or here) if here else None

    def _rarest(self, phase: Phase) -> Row:
        """One of the rows that were taken least, of those that can still be reached."""
        far, ids = self._course.far[phase], self._course.names.rows
        worn = {
            row: self.times[ids[row]] + self._tried[row] // _TRIES
            for row in self._course.rows
            if row.source in far
        }
        fewest = min(worn.values())
        return self._rng.choice([row for row, times in worn.items() if times == fewest])


def courses(declared: Declared, rng: random.Random, *, steps: int) -> Walks:
    """Walks of so many steps together, in which the guards answer by lot.

    Raises:
        ValueError: the table has not exactly one row that makes a task.
    """
    course = Course(declared)
    steering = _Steering(course, rng)
    traces: list[Trace] = []
    while steps > 0:
        trace: Trace = []
        phase = course.begin
        for _ in range(min(steps, STEPS_MAX)):
            wanted = steering.next_row(phase) if rng.random() < _AIMED else None
            trigger, holds = _drawn(course, wanted, rng)
            row = course.taken(phase, trigger, holds)
            trace.append(Step(course.names.triggers[trigger], holds, course.seen(phase, row)))
            steering.took(row)
            if len(course.far[phase]) == 1 and rng.random() < _AIMED:
                break  # Over: one step more or two, to see that nothing moves it.
            phase = phase if row is None else row.dest
        traces.append(trace)
        steps -= len(trace)
    return Walks(traces, steering.times)


def _drawn(
    course: Course, wanted: Row | None, rng: random.Random
) -> tuple[Trigger, dict[str, bool]]:
    """A trigger, and answers under which the wanted row is taken, or almost; or just any."""
    named = course.names.guards
    if wanted is None:
        # Whoever moves where the table has no row finds no guard in its way.
        likely = rng.choice((0.5, 1.0))
        return rng.choice(course.triggers), {name: rng.random() < likely for name in named.values()}
    holds = {name: rng.random() < 1 / 2 for name in named.values()}
    assert wanted.source is not None
    for row in course.by_pair[wanted.source, wanted.trigger]:
        if row is wanted:
            break
        if guards_of(row):
            holds[named[guards_of(row)[-1]]] = False
    holds |= {named[guard]: True for guard in guards_of(wanted)}
    if guards_of(wanted) and rng.random() < 1 / 4:
        # Only one speaks against it: an export that forgot that one would go on.
        holds[named[rng.choice(guards_of(wanted))]] = False
    return wanted.trigger, holds


def lives(lifecycle: Lifecycle, rng: random.Random, *, steps: int) -> Walks:
    """Lives of tasks of so many steps together, fired by the lifecycle itself."""
    life = _Lives(lifecycle, rng)
    traces: list[Trace] = []
    while steps > 0:
        traces.append(life.another(min(steps, STEPS_MAX)))
        steps -= len(traces[-1])
    return Walks(traces, life.steering.times)


class _Lives:
    def __init__(self, lifecycle: Lifecycle, rng: random.Random) -> None:
        self._lifecycle, self._rng = lifecycle, rng
        self._course: Final = Course(lifecycle)
        self.steering: Final = _Steering(self._course, rng)
        self._further: Final = [phase for phase in lifecycle.phases if phase.kin is not phase]
        self._failed: Final[Counter[object]] = Counter()
        self._by_move: Final = {row.key: row for row in self._course.rows}
        self._guards: Final[dict[Trigger, list[Guard]]] = {}
        for row in self._course.rows:
            guards = self._guards.setdefault(row.trigger, [])
            guards += [guard for guard in guards_of(row) if guard not in guards]

    def another(self, steps_max: int) -> Trace:
        """One task from its submission to some time after its end, or to the limit."""
        record = self._lifecycle.submit(begun()).record
        trace: Trace = []
        for _ in range(steps_max):
            over = not self._lifecycle.allowed(record.phase)
            signal = self._next(record)
            holds = self._holds(record, signal)
            row, record = self._fired(record, signal)
            self.steering.took(row)
            seen = self._course.seen(record.phase, row)
            trace.append(Step(self._course.names.triggers[signal.trigger], holds, seen))
            if over and self._rng.random() < _AIMED:
                break
        return trace

    def _fired(self, record: TaskRecord, signal: Signal) -> tuple[Row | None, TaskRecord]:
        try:
            move = self._lifecycle.fire(record, signal)
        except (IllegalTrigger, GuardRefused):
            return None, record
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            raise Raised(
                f"{at.name} raises {type(error).__name__} ({error}), line {at.lineno}, "
                f"for {signal.trigger} in {record.phase}; a guard says yes or no to any signal"
            ) from error
        row = self._by_move[record.phase, signal.trigger, move.record.phase]
        assert row.effects == move.effects
        return row, move.record

    def _next(self, record: TaskRecord) -> Signal:
        if self._rng.random() > _AIMED:
            return self._unfit(record)
        wanted = self.steering.next_row(record.phase)
        if wanted is None:
            return self._signal(self._rng.choice(self._course.triggers), record, fits=True)
        for _ in range(_LOOKS):
            signal = self._signal(wanted.trigger, record, fits=True)
            if self._fired(record, signal)[0] is wanted:
                return signal
        stays = self.steering.stays(record.phase) or wanted
        return self._signal(stays.trigger, record, fits=True)

    def _unfit(self, record: TaskRecord) -> Signal:
        """Of several signals with something wrong one that fails in a way that was rare so far."""
        # Mostly in its place: what is out of place is refused for that alone.
        allowed = self._lifecycle.allowed(record.phase)
        among = allowed if allowed and self._rng.random() < 3 / 4 else self._course.triggers
        signals = [self._signal(self._rng.choice(among), record, fits=False) for _ in range(_LOOKS)]
        reasons = [self._reasons(record, signal) for signal in signals]
        rarest = min(
            range(_LOOKS),
            key=lambda at: min((self._failed[reason] for reason in reasons[at]), default=math.inf),
        )
        self._failed.update(reasons[rarest])
        return signals[rarest]

    def _reasons(self, record: TaskRecord, signal: Signal) -> list[object]:
        """The guards that speak against the signal, or that the phase does."""
        if (record.phase, signal.trigger) not in self._course.by_pair:
            return [(record.phase, signal.trigger)]
        # A guard that only chooses refuses nothing.
        rows = self._course.by_pair[record.phase, signal.trigger]
        required = dict.fromkeys(guard for row in rows for guard in row.requires)
        return [guard for guard in required if not _held(guard, record, signal)]

    def _signal(self, trigger: Trigger, record: TaskRecord, *, fits: bool) -> Signal:
        return signal_for(trigger, record, self._rng, fits=fits, further=self._further)

    def _holds(self, record: TaskRecord, signal: Signal) -> dict[str, bool]:
        """What the guards of its rows come to; where there is no row, that no guard minds."""
        named = self._course.names.guards
        rows = self._course.by_pair.get((record.phase, signal.trigger))
        if rows is None:
            return {named[guard]: True for guard in self._guards[signal.trigger]}
        guards = dict.fromkeys(guard for row in rows for guard in guards_of(row))
        return {named[guard]: _held(guard, record, signal) for guard in guards}


def _held(guard: Guard, record: TaskRecord, signal: Signal) -> bool:
    """What it comes to; no where it cannot say, for it may never be asked.

    The machine asks the guards of a row in their order up to the first no, and the rows up to
    the first that is taken: one that can rely on those before it may raise without them.
    """
    try:
        return guard.holds(record, signal)
    except Exception:  # noqa: BLE001  where it is asked, `fire` raises it
        return False


def readable(trace: Sequence[Step], begin: str) -> list[str]:
    """A trace as a person reads it, one line a step."""
    lines = [f"    {begin}"]
    for step in trace:
        no = [name for name, holds in step.holds.items() if not holds]
        told = f" (no: {', '.join(no)})" if no else ""
        lines.append(f"    {step.trigger}{told} -> {shown(step.seen)}")
    return lines


def shown(seen: Seen) -> str:
    """What a step came to, in words."""
    if seen.row is None:
        return f"{seen.phase}, refused"
    return f"{seen.phase} by {seen.row}, effects {', '.join(seen.effects) or 'none'}"
