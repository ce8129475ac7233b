"""Does an interpreter that others wrote live the same life?  Needs `interlock[crosscheck]`.

The lifecycle is exported (SCXML, XState JSON), walked at random by our own machine, and the
walk is replayed by an interpreter that knows the document alone.  After every step phase, row
and effects have to be equal, refusals included.  Then the same with small machines by lot,
since the shipped table may happen not to have what an exporter gets wrong.

The guards are ours on both sides: what they came to is told to the interpreter.  So this
checks the table, its order and its export, and not what a guard decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from interlock import Lifecycle
from interlock.diagram._document import Declared
from interlock_adapters.crosscheck._players import PLAYERS, Player, Replay, Unplayable
from interlock_adapters.crosscheck._random import random_machine
from interlock_adapters.crosscheck._walk import (
    Course,
    Raised,
    Seen,
    Trace,
    Walks,
    chance,
    courses,
    lives,
    readable,
    shown,
)

STEPS: Final = 5_000
MACHINES: Final = 100
SEED: Final = 1

#: How many steps a machine by lot is walked: most of its rows are taken several times.
MACHINE_STEPS: Final = 120

__all__ = [
    "MACHINES",
    "PLAYERS",
    "SEED",
    "STEPS",
    "Difference",
    "Part",
    "Player",
    "Raised",
    "Report",
    "crosscheck",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an interpreter first went another way than our machine."""

    player: str
    #: Which machine: the lifecycle, or one by lot.
    machine: str
    #: Where tasks begin, and the shortest walk that shows it; empty when it would not even run.
    begin: str
    trace: Trace
    #: What the interpreter made of the last step, or what it said.
    instead: Seen | str

    def __str__(self) -> str:
        """For people, over several lines."""
        if not self.trace:
            return f"{self.player} cannot run {self.machine}: {self.instead}"
        instead = shown(self.instead) if isinstance(self.instead, Seen) else self.instead
        return "\n".join(
            [
                f"{self.player} differs on {self.machine}, after {len(self.trace)} steps:",
                *readable(self.trace, self.begin),
                f"    but {self.player} says: {instead}",
            ]
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What was walked: how many steps, in how many walks, and which rows were taken."""

    name: str
    walks: int
    steps: int
    #: How many rows there are to take.
    rows: int
    #: Ids of those that no walk took.
    missed: Sequence[str]
    #: Whether a row that was not taken is worth a name: machines by lot have some on purpose.
    by_lot: bool = False

    def __str__(self) -> str:
        """See `told`: all rows that were missed."""
        return self.told()

    def told(self, named_max: int | None = None) -> str:
        """One line, and one for the rows that were missed, of which so many are named."""
        rows = f"{self.rows - len(self.missed):,} of {self.rows:,} rows taken"
        line = f"{self.name}: {self.steps:,} steps in {self.walks:,} walks, {rows}"
        if self.by_lot or not self.missed:
            return line
        shown = self.missed[:named_max]
        left = len(self.missed) - len(shown)
        more = f" and {left:,} more" if left else ""
        return f"{line}\n    never taken: {', '.join(shown)}{more}"


@dataclass(slots=True)
class Report:
    """What was compared, and what came of it."""

    #: Name, version and document of each interpreter that took part.
    players: list[str]
    #: Distributions of interpreters that are not installed.
    absent: list[str]
    parts: list[Part] = field(default_factory=list[Part])
    #: At most one for each interpreter and part: the first.
    differences: list[Difference] = field(default_factory=list[Difference])

    def __str__(self) -> str:
        """See `told`: all rows that were missed."""
        return self.told()

    def told(self, named_max: int | None = None) -> str:
        """For people, over several lines; of rows that were missed so many are named."""
        lines = [f"interpreter: {player}" for player in self.players]
        lines += [f"not installed: {name}" for name in self.absent]
        lines += (part.told(named_max) for part in self.parts if part.steps)
        lines += map(str, self.differences)
        return "\n".join([*lines, f"{len(self.differences) or 'no'} differences"])


def crosscheck(
    lifecycle: Lifecycle,
    *,
    steps: int = STEPS,
    machines: int = MACHINES,
    seed: int = SEED,
    players: Sequence[Player] = PLAYERS,
) -> Report:
    """Walk the lifecycle and machines by lot, and have every interpreter follow.

    `steps` are those of lives with real records; half as many are walked with guards by lot.
    The same seed gives the same walks.

    Raises:
        ModuleNotFoundError: no interpreter is installed.
        Raised: a guard of the lifecycle raises where it is asked.
    """
    present = {player.name: player.version for player in players}
    report = Report(
        [f"{each.name} {each.version}, from {each.document}" for each in players if each.version],
        [name for name, installed in present.items() if installed is None],
    )
    ready = [player for player in players if present[player.name] is not None]
    if not ready:
        raise ModuleNotFoundError(
            "crosscheck needs an interpreter to compare with: pip install 'interlock[crosscheck]'"
        )
    # One source of chance for each part: more steps of one leave the others as they were.
    walks = lives(lifecycle, chance(f"lives {seed}"), steps=steps)
    _compare(report, "the lifecycle", lifecycle, walks, ready)
    report.parts.append(_part("lives of tasks", [walks]))
    walks = courses(lifecycle, chance(f"courses {seed}"), steps=steps // 2)
    _compare(report, "the lifecycle", lifecycle, walks, ready)
    report.parts.append(_part("guards by lot", [walks]))
    _by_lot(report, machines, seed, ready)
    return report


def _by_lot(report: Report, machines: int, seed: int, players: Sequence[Player]) -> None:
    every: list[Walks] = []
    for number in range(1, machines + 1):
        rng = chance(f"machine {seed} {number}")
        machine = random_machine(rng)
        every.append(courses(machine, rng, steps=MACHINE_STEPS))
        _compare(report, f"machine {number} of seed {seed}", machine, every[-1], players)
    report.parts.append(_part(f"{machines:,} machines by lot", every, by_lot=True))


def _part(name: str, walks: Sequence[Walks], *, by_lot: bool = False) -> Part:
    return Part(
        name,
        sum(len(each.traces) for each in walks),
        sum(each.steps for each in walks),
        sum(len(each.taken) for each in walks),
        [row for each in walks for row in each.missed],
        by_lot,
    )


def _compare(
    report: Report, name: str, declared: Declared, walks: Walks, players: Sequence[Player]
) -> None:
    course = Course(declared)
    begin = course.names.phases[course.begin]
    for player in players:
        trace: Trace = []
        try:
            replay = player.loaded(declared)
            theirs = replay(walks.traces)
            trace = _shortest(_ways_apart(walks.traces, theirs))
            if not trace:
                continue
            trace = _shrunk(trace, course, replay)
            instead: Seen | str = replay([trace])[0][-1]
        except Unplayable as unplayable:
            instead = str(unplayable)
        report.differences.append(Difference(player.name, name, begin, trace, instead))


def _ways_apart(ours: Sequence[Trace], theirs: Sequence[Sequence[Seen]]) -> Iterator[Trace]:
    """The walks that are not the same, each up to the step at which they part."""
    for trace, seen in zip(ours, theirs, strict=True):
        for number, (step, other) in enumerate(zip(trace, seen, strict=True), 1):
            if step.seen != other:
                yield trace[:number]
                break


def _shortest(traces: Iterator[Trace]) -> Trace:
    none: Trace = []
    return min(traces, key=len, default=none)


def _shrunk(trace: Trace, course: Course, replay: Replay) -> Trace:
    """The walk without the steps that have nothing to do with the difference."""
    at = 0
    while at < len(trace) - 1:
        without = course.told_again(trace[:at] + trace[at + 1 :])
        apart = _shortest(_ways_apart([without], replay([without])))
        if apart:
            trace = apart
        else:
            at += 1
    return trace
