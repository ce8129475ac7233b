"""Where a run goes: towards a row of the lifecycle that it has not taken yet.

Steering has a say only while a tape is being drawn, and what it chooses is on the tape: a tape
that is read again needs none.
"""

import random
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, TypeVar

from interlock._machine import Lifecycle
from interlock._phases import Phase, Trigger
from interlock._transitions import Row
from interlock.diagram import Key
from interlock.testing.fuzz._tape import Span, Tape

V = TypeVar("V")

#: One move in so many follows no goal.
_WHIM: Final = 4


class SteeredTape(Tape):
    """A tape on which some choices are made towards a goal while it is drawn.

    The decisions of a span are preceded by their number, and when a tape is read again each span
    begins where it began then, however many of the decisions before are asked for this time.  So
    one move can be left out, or made plainer, and those after it stay what they are.
    """

    def __init__(self, seed: int = 0, given: Sequence[int] | None = None) -> None:
        """See `Tape`."""
        super().__init__(seed, given)
        #: Chooses goals; what it says is no decision of the run.
        self.whims: Final = random.Random(f"{seed}")  # noqa: S311  nothing here is a secret
        #: Where the next decision is read, and where those of this span end.
        self._at = 0
        self._end = 0 if given is None else len(given)

    @property
    def is_drawn(self) -> bool:
        """Whether decisions are being made, and not read."""
        return self._given is None

    def choose(self, options: int) -> int:
        """See `Tape.choose`."""
        if self._given is None:
            return super().choose(options)
        assert options > 0
        choice = self._given[self._at] % options if self._at < self._end else 0
        self._at += 1
        self._made.append(choice)
        return choice

    def towards(self, options: int, wanted: Sequence[int]) -> int:
        """A number from 0 to `options` - 1; while it is drawn, one of those that are wanted."""
        assert options > 0
        if self._given is not None or not wanted:
            return self.choose(options)
        choice = self.whims.choice(wanted)
        self._made.append(choice)
        return choice

    @contextmanager
    def span(self, label: str) -> Generator[None]:
        """See `Tape.span`; spans are not within each other."""
        given = () if self._given is None else self._given
        start = len(self._made)
        self._made.append(0)
        count = given[self._at] if self._at < len(given) else 0
        self._at += 1
        self._end = min(self._at + count, len(given))
        try:
            yield
        finally:
            self._made[start] = len(self._made) - start - 1
            self._at, self._end = self._end, len(given)
            self._spans.append(Span(label, start, len(self._made)))


class Compass:
    """The goal of a run, and which triggers lead there."""

    def __init__(self, lifecycle: Lifecycle, whims: random.Random) -> None:
        self._lifecycle: Final = lifecycle
        self._whims: Final = whims
        self._goal: Row | None = None

    def triggers(
        self, phases: AbstractSet[Phase], taken: AbstractSet[Key]
    ) -> tuple[Phase | None, frozenset[Trigger]]:
        """A phase that a task is in, and triggers by which it comes nearer to the goal.

        Nothing if there is none, or if now is the time for something else.
        """
        if self._whims.randrange(_WHIM) == 0:
            return None, frozenset()
        goal = self._goal
        if goal is None or goal.key in taken or self._whims.randrange(12) == 0:
            left = [row for row in self._lifecycle.table if row.key not in taken]
            goal = self._goal = self._whims.choice(left) if left else None
        if goal is None:
            return None, frozenset()
        if goal.source is None:
            return None, frozenset({Trigger.SUBMIT})
        if goal.source in phases:
            return goal.source, frozenset({goal.trigger})
        far = distances(self._lifecycle, goal.source)
        known = [phase for phase in self._lifecycle.phases if phase in phases and phase in far]
        if not known:
            return None, frozenset({Trigger.SUBMIT})
        nearest = min(known, key=lambda phase: far[phase])
        ways = {
            row.trigger
            for row in self._lifecycle.table
            if row.source is nearest and far.get(row.dest, far[nearest]) < far[nearest]
        }
        return nearest, frozenset(ways)


@lru_cache(maxsize=256)
def distances(lifecycle: Lifecycle, goal: Phase) -> Mapping[Phase, int]:
    """How many rows each phase is away from the goal, where there is a way."""
    found = {goal: 0}
    todo = deque([goal])
    while todo:
        phase = todo.popleft()
        for row in lifecycle.table:
            if row.dest is phase and row.source is not None and row.source not in found:
                found[row.source] = found[phase] + 1
                todo.append(row.source)
    return found
