"""Every world that a task can come to, and whether each keeps what is promised."""

import itertools
from dataclasses import dataclass, field
from typing import Final

from interlock._clock import Clock, SystemClock
from interlock._machine import Lifecycle
from interlock._phases import Group, Phase
from interlock._transitions import Key
from interlock.testing.fuzz._coverage import arrow
from interlock.testing.model._signals import Bounds
from interlock.testing.model._steps import StepTable
from interlock.testing.model._trace import Line, Trace
from interlock.testing.model._world import Faults, Happening, Surroundings, World

#: Who goes on when nobody else does anything.
_BY_ITSELF: Final = frozenset({"engine", "timer", "courier"})


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that is not kept, and the shortest way there."""

    #: A sentence that begins with the id of the invariant (specs/invariants.md).
    what: str
    trace: Trace

    def __str__(self) -> str:
        return f"{self.what}\n{self.trace}"


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What a check came to."""

    worlds: int
    edges: int
    records: int
    #: One for each thing that can go wrong, the shortest way there first.
    violations: tuple[Violation, ...]
    #: Worlds from which `finalized` cannot be reached, or not without client and agent; the
    #: shortest ways to one of each are among the violations.
    stuck: int
    #: Whether every world was looked at; with less, nothing is said about those that are stuck.
    complete: bool
    #: Seconds that it took.
    seconds: float = field(compare=False)
    #: The rows that no signal took; nothing is said about them.  Which there are depends on the
    #: bounds, and on what the guards want to see in a signal: values here are plain ones.
    untaken: tuple[Key, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every world was looked at and all is as promised."""
        return self.complete and not self.violations and not self.stuck

    def __str__(self) -> str:
        counted = f"{self.worlds} worlds of {self.records} records, {self.edges} edges"
        whole = "" if self.complete else ", and there are more"
        found = f"{len(self.violations)} violations, {self.stuck} stuck worlds"
        head = f"{counted}{whole}: {found} ({self.seconds:.1f} s)"
        rows = [f"  never taken: {arrow(key)}" for key in self.untaken]
        return "\n\n".join(["\n".join([head, *rows]), *map(str, self.violations)])


def check_model(
    lifecycle: Lifecycle,
    *,
    crashes: int = 2,
    asks: int = 2,
    retries: int = 1,
    recoveries: int = 1,
    repeats: int = 1,
    worlds_max: int = 2_000_000,
    stop_at_first: bool = False,
    faults: Faults | None = None,
    clock: Clock | None = None,
) -> ModelReport:
    """Enumerate what can happen to one task of a lifecycle, within bounds, and check all of it.

    Clients, timers, the turn and turns that were lost do whatever they may, in every order; the
    lifecycle's own `fire` decides what comes of it.  The engine may crash at any point.  The module
    `_world` says what is simpler than in life.

    `crashes`: how often the process dies.  `asks`: how many questions the agent asks.  `retries`:
    how many attempts may follow the first.  `recoveries`: how often in a row a turn is recovered
    before an operator is asked.  `repeats`: how often an effect is acted on twice.  `worlds_max`:
    where to give up.  `stop_at_first`: whether one violation is enough.  `faults`: what is to be
    wrong with the surroundings, to see it found.  `clock`: what the seconds are read from.

    Raises:
        ValueError: a bound is negative.
    """
    bounds = {"crashes": crashes, "asks": asks, "retries": retries, "recoveries": recoveries}
    for name, bound in {**bounds, "repeats": repeats, "worlds_max": worlds_max}.items():
        if bound < 0:
            raise ValueError(f"{name} is {bound}; 0 or more it may be")
    watch = clock or SystemClock()
    began = watch.now()
    steps = StepTable(lifecycle, Bounds(asks, retries, recoveries))
    surroundings = Surroundings(steps, faults or Faults(), crashes=crashes, repeats=repeats)
    search = _Search(steps, surroundings, worlds_max)
    search.explore(stop_at_first=stop_at_first)
    stuck = search.stuck() if search.complete and not search.found else 0
    return ModelReport(
        len(search.worlds),
        len(search.to),
        len(steps.records),
        tuple(search.found.values()),
        stuck,
        search.complete,
        watch.now() - began,
        steps.untaken(),
    )


class _Search:
    """Breadth first, so that the first way to anything is a shortest one."""

    def __init__(self, steps: StepTable, surroundings: Surroundings, worlds_max: int) -> None:
        self._steps: Final = steps
        self._surroundings: Final = surroundings
        self._worlds_max: Final = worlds_max
        self.worlds: Final[list[World]] = []
        self._numbers: Final[dict[World, int]] = {}
        #: The edges, one in each place of all three; the last: whether it goes by itself.
        self._from: Final[list[int]] = []
        self.to: Final[list[int]] = []
        self._by_itself: Final[list[bool]] = []
        #: By world: the one before it on a shortest way.
        self._before: Final[list[int]] = []
        self.found: Final[dict[str, Violation]] = {}
        self.complete = True

    def explore(self, *, stop_at_first: bool) -> None:
        """Look at every world; beyond one in which something is wrong nobody looks."""
        first = self._surroundings.first()
        self._meet(-1, first)
        at = 0
        while at < len(self.worlds):
            if len(self.worlds) > self._worlds_max or (stop_at_first and self.found):
                self.complete = False
                return
            for happening in self._surroundings.after(self.worlds[at]):
                self._meet(at, happening)
            at += 1

    def _meet(self, at: int, happening: Happening) -> None:
        world = happening.world
        if happening.wrong:
            self._report(at, happening, happening.wrong)
            return
        number = self._numbers.get(world)
        if number is None:
            wrong = tuple(self._surroundings.wrong(world))
            if wrong:
                self._report(at, happening, wrong)
                return
            number = self._numbers[world] = len(self.worlds)
            self.worlds.append(world)
            self._before.append(at)
        if at >= 0 and number != at:
            self._from.append(at)
            self.to.append(number)
            self._by_itself.append(
                happening.by in _BY_ITSELF and world.crashes == self.worlds[at].crashes
            )

    def _report(self, at: int, happening: Happening, wrong: tuple[str, ...]) -> None:
        for what in wrong:
            kind = what.partition(":")[0]
            if kind not in self.found:
                self.found[kind] = Violation(what, Trace((*self._way(at), self._line(happening))))

    def stuck(self) -> int:
        """How many worlds cannot come to `finalized`, with or without help."""
        for by_itself, what in (
            (False, "finalized cannot be reached"),
            (True, "I28: without client and agent finalized cannot be reached"),
        ):
            left = self._cut_off(by_itself=by_itself)
            if left:
                self.found[what] = Violation(what, Trace(tuple(self._way(left[0]))))
                return len(left)
        return 0

    def _cut_off(self, *, by_itself: bool) -> list[int]:
        """The worlds from which no way leads to the end, backwards from there."""
        sources: list[list[int]] = [[] for _ in self.worlds]
        for source, to, alone in zip(self._from, self.to, self._by_itself, strict=True):
            if alone or not by_itself:
                sources[to].append(source)
        todo = [n for n, world in enumerate(self.worlds) if self._is_end(world)]
        reached = bytearray(len(self.worlds))
        for number in todo:
            reached[number] = True
        while todo:
            for source in sources[todo.pop()]:
                if not reached[source]:
                    reached[source] = True
                    todo.append(source)
        return [number for number, held in enumerate(reached) if not held]

    def _is_end(self, world: World) -> bool:
        return self._steps.at(world.record).group is Group.END and not world.outbox

    def _way(self, number: int) -> list[Line]:
        """The shortest way to a world, told again: which happening led there is not kept."""
        way: list[int] = []
        while number >= 0:
            way.append(number)
            number = self._before[number]
        if not way:
            return []
        way.reverse()
        lines = [self._line(self._surroundings.first())]
        for before, after in itertools.pairwise(way):
            reached = self.worlds[after]
            happenings = self._surroundings.after(self.worlds[before])
            lines.append(self._line(next(h for h in happenings if h.world == reached)))
        return lines

    def _line(self, happening: Happening) -> Line:
        phase: Phase = self._steps.at(happening.world.record).phase
        return Line(happening.by, happening.says, phase, happening.epochs, happening.lag)
