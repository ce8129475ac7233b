"""Small machines by lot, for what the shipped table happens not to have.

Rows that overlap, that can never be reached, that are there twice; guards with names that are
words of other languages; phases that nothing leaves.  A lifecycle would be refused for most
of it, and an export still has to mean what our machine does.
"""

import random
from dataclasses import dataclass
from typing import Final

from interlock import LIFECYCLE, Phase, Trigger
from interlock._changes import unchanged
from interlock.lifecycle import (
    ArmTimer,
    Effect,
    Guard,
    Publish,
    Row,
    StartTurn,
    StopTurn,
    TimerKind,
)

_PHASES_MAX: Final = 6
_TRIGGERS_MAX: Final = 4
_ROWS_MAX: Final = 10
_GUARD_NAMES: Final = (
    "ready", "ready", "is ready", "class", "not", "v", "état", "a-b", "a.b", "1st", "target",
)  # fmt: skip
_EFFECTS: Final[tuple[Effect, ...]] = (
    Publish(),
    StopTurn(),
    StartTurn(),
    StartTurn(replay=True),
    ArmTimer(TimerKind.RUN),
    ArmTimer(TimerKind.ASK),
)
_TRIGGERS: Final = tuple(dict.fromkeys(row.trigger for row in LIFECYCLE.table))


@dataclass(frozen=True, slots=True)
class RandomMachine:
    """A table and its phases; no promise that it makes sense."""

    table: tuple[Row, ...]
    phases: tuple[Phase, ...]


def random_machine(rng: random.Random) -> RandomMachine:
    """A machine of two to six phases, with one row that makes a task."""
    phases = rng.sample(LIFECYCLE.phases, rng.randint(2, _PHASES_MAX))
    triggers = rng.sample(_TRIGGERS, rng.randint(1, _TRIGGERS_MAX))
    guards = [_guard(name) for name in rng.sample(_GUARD_NAMES, rng.randint(1, 5))]
    # The first phase is where a task begins, so the machine has at least that to do.
    left = [phases[0], *(phase for phase in phases[1:] if rng.random() < 2 / 3)]
    shared = [tuple(rng.sample(guards, min(len(guards), size))) for size in (0, 0, 1, 2)]
    ways = [(rng.choice(left), rng.choice(phases)) for _ in range(rng.randint(1, _ROWS_MAX))]
    ways += [(source, source) for source in left if rng.random() < 1 / 2]
    # A way to every phase, so that most of the machine is seen.
    ways += [
        (rng.choice([source for source in left if source in phases[:number]]), phase)
        for number, phase in enumerate(phases)
        if number
    ]
    rng.shuffle(ways)
    rows = [_row(rng, rng.choice(triggers), way, shared, guards) for way in ways]
    begin = Row(Trigger.SUBMIT, None, phases[0], unchanged)
    return RandomMachine((begin, *rows), tuple(phases))


def _guard(name: str) -> Guard:
    return Guard(name, lambda _record, _signal: True, f"not {name}")


def _row(
    rng: random.Random,
    trigger: Trigger,
    way: tuple[Phase, Phase],
    shared: list[tuple[Guard, ...]],
    guards: list[Guard],
) -> Row:
    effects = tuple(rng.sample(_EFFECTS, rng.randint(0, 3)))
    when = rng.choice(guards) if rng.random() < 3 / 4 else None
    return Row(trigger, *way, unchanged, effects, rng.choice(shared), when)
