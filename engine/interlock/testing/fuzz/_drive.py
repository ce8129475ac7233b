"""One run: an engine of the target in a simulated world, moved about by a tape and watched."""

import asyncio
import gc
import hashlib
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import CoroutineType
from typing import Any, ClassVar, Final

from interlock._event import Event
from interlock._phases import OUTCOMES, OVER, Phase, Trigger
from interlock._record import TaskRecord
from interlock.diagram import Key, hits_of
from interlock.testing.fuzz._drive_process import Process
from interlock.testing.fuzz._drive_steer import Compass, SteeredTape
from interlock.testing.fuzz._drive_world import TROUBLE_S, Plan, World
from interlock.testing.fuzz._ends import place_of
from interlock.testing.fuzz._moves import KINDS, Kind
from interlock.testing.fuzz._oracle_gone import check_gone, check_retention
from interlock.testing.fuzz._oracle_run import Broken, check_receiver, check_still
from interlock.testing.fuzz._oracle_threads import left_by_agents, tasks_of_engine
from interlock.testing.fuzz._report import Failure, raised
from interlock.testing.fuzz._sim import Deadlock, Simulation, StepLimit
from interlock.testing.fuzz._sim_stuck import Stuck
from interlock.testing.fuzz._tape import Span

#: Moves of one run at most.
MOVES_MAX: Final = 60
#: One run in so many ends with each move.
_LENGTH: Final = 30
#: The kind of a failure that takes real time: nobody tries to come to it again and again.
STUCK: Final = "stuck"
#: The label of a move on the tape.
MOVE: Final = "move"
#: Steps of time until every task has to be over, at the end of a run.
_ENDS_WITHIN: Final = 100


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run came to."""

    failure: Failure | None
    tape: tuple[int, ...]
    spans: tuple[Span, ...]
    lives: int
    #: One line a move.
    trace: tuple[str, ...]
    hits: Mapping[Key, int]
    guards: Mapping[str, tuple[int, int]]
    digest: str
    #: How many lives came to each outcome, what agents raised, and what is worth a word.
    outcomes: Mapping[str, int] = field(default_factory=dict[str, int])
    errors: Mapping[str, int] = field(default_factory=dict[str, int])
    notes: Mapping[str, int] = field(default_factory=dict[str, int])
    #: Where lives ended that did not complete, and how many.
    ends: Mapping[str, int] = field(default_factory=dict[str, int])
    #: The log of each task, as long as somebody may compare it.
    logs: Sequence[Sequence[Event]] = field(default=(), compare=False, repr=False)


def ran(
    plan: Plan, seed: int, given: Sequence[int] | None = None, *, make: "type[Run] | None" = None
) -> Ran:
    """Run once: by the seed, or by a tape; `make` is the kind of run if it is no plain one."""
    collects, unraisable = gc.isenabled(), sys.unraisablehook
    gc.disable()
    sys.unraisablehook = partial(_unraisable, unraisable)
    try:
        with warnings.catch_warnings():
            # What a crash leaves is never awaited, and that is no fault of whoever left it.
            warnings.simplefilter("ignore", RuntimeWarning)
            made = _ran(plan, seed, given, make)
            gc.collect(0)  # All of it was made since it began, and is young.
    finally:
        sys.unraisablehook = unraisable
        if collects:
            gc.enable()
    return made


def _unraisable(otherwise: Callable[[Any], object], error: Any) -> None:  # noqa: ANN401  the hook's
    """Say nothing of a coroutine that a run left, and that is closed when its loop is gone.

    A run that fails ends in the middle of whatever the engine does, such as its closing.
    """
    if not isinstance(error.object, CoroutineType):
        otherwise(error)


def _ran(plan: Plan, seed: int, given: Sequence[int] | None, make: "type[Run] | None") -> Ran:
    tape = SteeredTape(seed, given)
    simulation = Simulation(tape, lines_of=plan.target.lines_of)
    run = (make or Run)(plan, tape, simulation)
    found: Broken | None = None
    with run.listener.listening():
        try:
            plan.target.begin()
            with plan.locks.replaced():
                simulation.run(run.main())
        except Broken as broken:
            found = broken
        except Deadlock as error:
            found = Broken("deadlock", f"nothing goes on any more: {error}")
        except Stuck as error:
            found = Broken(STUCK, str(error))
        except StepLimit as error:
            found = Broken("steps", f"it does not come to an end: {error}")
        except Exception as error:  # noqa: BLE001  a function of the target's, or of ours
            found = Broken("raised", f"the run itself raises {raised(error)}")
    return run.result(seed, found)


class Run(World):
    """Moves the world about, and looks at it."""

    #: What may happen; a tape names them by their place.
    kinds: ClassVar[Sequence[Kind]] = KINDS

    def __init__(self, plan: Plan, tape: SteeredTape, simulation: Simulation) -> None:
        super().__init__(plan, tape, simulation)
        self._compass: Final = Compass(self.counted.lifecycle, tape.whims)

    async def main(self) -> None:
        """All of it, from the first process to the end of the last."""
        asyncio.get_running_loop().set_exception_handler(self.listener.uncaught)
        await self.boot()
        for _ in range(MOVES_MAX):
            with self.tape.span(MOVE):
                if self.tape.choose(_LENGTH) == 0 and self.steps:
                    break
                await self._move()
        await self._to_the_end()
        await self._close()

    async def _move(self) -> None:
        self.note_trouble()
        kind = self.kinds[self.tape.towards(len(self.kinds), self._wanted())]
        if kind.fault is None or kind.fault in self.faults:
            await kind.act(self)
        hurried = "concurrent" in self.faults and self.tape.chance(4)
        if not hurried:
            await self._still()
        self._look()

    def _wanted(self) -> list[int]:
        """Which kinds of moves lead somewhere; only a tape that is drawn asks for them."""
        if not self.tape.is_drawn:
            return []
        possible = [
            place
            for place, kind in enumerate(self.kinds)
            if (kind.fault is None or kind.fault in self.faults) and kind.possible(self)
        ]
        if self.helps:
            self.hint, self.aims = None, frozenset()
            return [place for place in possible for _ in range(self.kinds[place].helpful)]
        phases = {record.phase for record in self.disk.records}
        self.hint, self.aims = self._compass.triggers(phases, self.oracle.taken)
        steered = [place for place in possible if self.kinds[place].triggers & self.aims]
        return steered or [p for p in possible for _ in range(self.kinds[p].weight)]

    async def _still(self) -> None:
        """Let everything happen that happens without time going on."""
        await self.simulation.settle()
        await self.bury()
        self.note_trouble()
        if self.simulation.now >= self.trouble_until and self.is_quiet:
            self._look()
            await self.check_still()

    async def bury(self) -> None:
        """Begin another process where one has died in a commit."""
        if self.process.store.dead:
            self.say("(it dies, and another begins)")
            await self.crash()
            await self.simulation.settle()

    async def check_still(self) -> None:
        """Raise what is broken while nothing moves."""
        check_still(self.process, self.disk)
        self.check_all_threads()
        self.check_answered()
        self.check_followers(still=True)
        await self.check_gone(self.process)

    async def check_gone(self, process: Process) -> None:
        """Ask for what was purged, once in each process: nobody knows it."""
        asked = process.gone
        new = [kept[0] for kept in self.disk.gone.values() if kept[0].task_id not in asked]
        if not new:
            return
        asked.update(record.task_id for record in new)
        asking = self.task_of(process, check_gone(process, new))
        await self.simulation.settle()
        if not asking.done():
            raise Broken("purge", f"nobody answers who asks for {new[0].task_id}, which is gone")
        asking.result()

    def _look(self) -> None:
        """Raise whatever is broken by now."""
        for broken in self.met:
            raise broken
        for kind, words in self.listener.faults(store_failed=self.failed):
            raise Broken(kind, words)
        self.oracle.look()
        self.check_followers(still=False)
        check_receiver(self.receiver)

    async def _to_the_end(self) -> None:
        """Nothing more goes wrong, and time goes on until every task is over."""
        self.note_trouble()
        self.heal()
        self.receiver.loses = False
        await self._still()
        self.heal()
        process = self.process
        # What the store held up goes on before a long time is skipped.
        await self.simulation.advance(max(TROUBLE_S, self.trouble_until - self.simulation.now))
        await self._still()
        left: list[TaskRecord] = []
        for again in range(_ENDS_WITHIN):
            left = [r for r in self.disk.records if r.phase is not Phase.FINALIZED]
            if not left and not self.wait:
                break
            now = process.clock.now()
            dues = [record.due for record in left if record.due is not None]
            await self.elapse(max(min(dues) - now, 0.0) + 1.0 if dues else min(1.5**again, 3_600.0))
            await self._still()
            self._look()
        else:
            raise Broken("I28", f"{left[0].task_id} is {left[0].phase} and never over")
        await self.simulation.advance(process.engine.limits.grace_s + TROUBLE_S)
        await self._still()
        self._look()
        over = process.clock.now()
        await self.forgotten()
        await self._still()
        check_retention(self.process, self.disk, over)

    def heal(self) -> None:
        """Nothing goes wrong with the stores any more."""
        for process in self.processes.values():
            process.store.slow_s, process.store.fails, process.store.dies_in = 0.0, False, None

    async def _close(self) -> None:
        """Close the last process, in which nothing must be left.

        Raises:
            Broken: something is.
        """
        for process in self.processes.values():
            held = process.engine.statistics()
            if held.live or held.running or held.queued:
                raise Broken("I30", f"everything is over, and the engine holds {held}")
        for record in self.disk.records:
            arrived = self.receiver.places.get(record.task_id, 0)
            if self.disk.owes(record.task_id) and arrived < record.seq - 1:
                raise Broken("delivery", f"{record.task_id}: {arrived} of {record.seq} arrived")
        await self.all_drained()
        await self.simulation.advance(self.process.engine.limits.grace_s + TROUBLE_S)
        for process in self.processes.values():
            if alarms := process.clock.armed:
                raise Broken("I30", f"the engine is closed, and {alarms} alarms are set")
        left = sorted(tasks_of_engine())
        if left:
            raise Broken("I30", f"the engine is closed, and tasks are left: {left[:3]}")
        self.check_all_threads()
        self.oracle.look_at_all()
        self.oracle.check_promises()
        self._look()
        self.notes.update(set(left_by_agents(self.process, self.simulation.threads())))

    async def all_drained(self) -> None:
        """Close every engine."""
        await self.drained()

    def check_all_threads(self) -> None:
        """Check the threads of every process."""
        for process in self.processes.values():
            self.check_threads_of(process)

    def result(self, seed: int, found: Broken | None) -> Ran:
        """What it came to."""
        every = self.disk.every()
        hits: Counter[Key] = Counter()
        outcomes: Counter[str] = Counter()
        ends = Counter(filter(None, (place_of(log) for _, log in every)))
        seal = hashlib.sha256()
        for _, log in every:
            self.notes.update(_notes_of(log))
            hits.update(hits_of(log))
            outcomes.update([event.dest.value for event in log if event.dest in OUTCOMES][-1:])
            entries: list[Any] = [event.to_json() for event in log]
            seal.update(json.dumps(entries, sort_keys=True).encode())
        failure = None
        if found is not None:
            steps, after = tuple(self.steps), tuple(self.told_after())
            failure = Failure(found.kind, str(found), seed, self.tape.made, steps, after=after)
        return Ran(
            failure,
            self.tape.made,
            self.tape.spans,
            sum(record.phase in OVER for record, _ in every),
            tuple(self.steps),
            hits,
            self.counted.counts(),
            seal.hexdigest()[:32],
            outcomes,
            self.errors,
            self.notes,
            ends,
            [log for _, log in every],
        )


def _notes_of(log: Sequence[Event]) -> set[str]:
    """What its agent did in this life that is no fault of the engine."""
    who = "" if log[0].data.get("agent") is None else f" {log[0].data['agent']!r}"
    notes: set[str] = set()
    if any(event.trigger is Trigger.ABANDON for event in log):
        notes.add(f"the agent{who} did not end when it was told to, and was given up")
    for event in log:
        # An operator is asked: in production the task stands still until one has decided.
        if event.trigger is Trigger.ASK and (about := event.data.get("about")) is not None:
            at = f"at {about['key']!r:.80}"
            notes.add(f"the agent{who} went another way when it was run again, {at}")
    return notes
