"""A lifecycle whose guards are counted: how often each held, and how often it refused."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from interlock._event import Signal
from interlock._guards import Guard
from interlock._machine import Lifecycle
from interlock._record import TaskRecord


class Counted:
    """The lifecycle of a target with guards that count."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle, self._counts = _counted(lifecycle)
        self._counts.clear()

    def counts(self) -> Mapping[str, tuple[int, int]]:
        """How often each guard (held, refused), since this was made."""
        names = {name for name, _ in self._counts}
        return {
            name: (self._counts[name, True], self._counts[name, False]) for name in sorted(names)
        }


@lru_cache(maxsize=8)
def _counted(lifecycle: Lifecycle) -> tuple[Lifecycle, Counter[tuple[str, bool]]]:
    """The same rows, whose guards count; made once, for it takes a while."""
    counts: Final[Counter[tuple[str, bool]]] = Counter()
    made: dict[Guard, Guard] = {}

    def counting(guard: Guard) -> Guard:
        def holds(record: TaskRecord, signal: Signal) -> bool:
            held = guard.holds(record, signal)
            counts[guard.name, held] += 1
            return held

        return made.setdefault(guard, replace(guard, holds=holds))

    rows = [
        replace(
            row,
            requires=tuple(map(counting, row.requires)),
            when=None if row.when is None else counting(row.when),
        )
        for row in lifecycle.table
    ]
    return Lifecycle(rows), counts
