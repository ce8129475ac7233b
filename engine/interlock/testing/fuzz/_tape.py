"""Every decision of a run, in order: a run is a pure function of its tape.

Whatever could go one way or another in a simulated run asks here.  The answers are drawn from
a seed, or read from a tape that was made before; the shrinker makes shorter and plainer tapes.
"""

import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Span:
    """The decisions that one move took: a shrinker leaves out a whole one at a time."""

    label: str
    #: Places on the tape; the first, and that behind the last.
    start: int
    end: int


class Tape:
    """Decisions as whole numbers; 0 is always the plainest choice."""

    def __init__(self, seed: int = 0, given: Sequence[int] | None = None) -> None:
        """Draw from `seed`; or read what is `given`, and 0 whenever that is at its end."""
        self._random: Final = random.Random(seed)  # noqa: S311  nothing here is a secret
        self._given: Final = None if given is None else tuple(given)
        self._made: Final[list[int]] = []
        self._spans: Final[list[Span]] = []

    @property
    def made(self) -> tuple[int, ...]:
        """Every decision so far."""
        return tuple(self._made)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The moves so far, in the order of their ends."""
        return tuple(self._spans)

    def choose(self, options: int) -> int:
        """A number from 0 to `options` - 1."""
        assert options > 0
        if self._given is None:
            choice = self._random.randrange(options)
        else:
            at = len(self._made)
            choice = self._given[at] % options if at < len(self._given) else 0
        self._made.append(choice)
        return choice

    def pick(self, values: Sequence[V]) -> V:
        """One of these; the first is the plainest."""
        return values[self.choose(len(values))]

    def chance(self, one_in: int) -> bool:
        """True about once in so many times; False is the plainer."""
        return self.choose(one_in) == one_in - 1

    @contextmanager
    def span(self, label: str) -> Generator[None]:
        """What is decided inside belongs to one move."""
        start = len(self._made)
        try:
            yield
        finally:
            self._spans.append(Span(label, start, len(self._made)))
