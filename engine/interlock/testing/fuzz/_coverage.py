"""How much of a lifecycle a report covers: its rows, and both answers of its guards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from interlock._guards import Guard
from interlock._transitions import Row
from interlock.diagram import Key
from interlock.testing.fuzz._report import Report


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many; of nothing at all it is everything."""

    seen: int
    of: int

    @property
    def percent(self) -> float:
        """From 0 to 100; 100 only if nothing is missing."""
        return 100.0 if self.seen == self.of else min(99.9, 100.0 * self.seen / self.of)

    def __str__(self) -> str:
        return f"{self.seen} of {self.of} ({self.percent:.1f} %)"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a table was seen, and what was not."""

    transitions: Share
    guards: Share
    #: Rows that were never taken, in the order of the table.
    never: tuple[Key, ...]
    #: Guards by name, and what was never seen of each: "held" or "refused", or both.
    one_sided: Mapping[str, tuple[str, ...]]


def arrow(key: Key) -> str:
    """A row in one line of text."""
    source, trigger, dest = key
    return f"{source or 'new'} --{trigger}--> {dest}"


def guards_of(table: Iterable[Row]) -> dict[str, Guard]:
    """Every guard of a table by its name, in the order of the table."""
    found: dict[str, Guard] = {}
    for row in table:
        for guard in (*row.requires, *(() if row.when is None else (row.when,))):
            found.setdefault(guard.name, guard)
    return found


def coverage_of(report: Report, table: Sequence[Row]) -> Coverage:
    """What a report covers of a table; what it counts of anything else does not matter."""
    keys = [row.key for row in table]
    never = tuple(key for key in keys if not report.hits.get(key))
    one_sided: dict[str, tuple[str, ...]] = {}
    names = guards_of(table)
    for name in names:
        held, refused = report.guards.get(name, (0, 0))
        missing = tuple(word for word, count in (("held", held), ("refused", refused)) if not count)
        if missing:
            one_sided[name] = missing
    return Coverage(
        Share(len(keys) - len(never), len(keys)),
        Share(len(names) - len(one_sided), len(names)),
        never,
        one_sided,
    )
