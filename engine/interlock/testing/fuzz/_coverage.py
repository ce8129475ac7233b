"""How much of a lifecycle a report covers: its rows, and both answers of its guards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from interlock._guards import Guard
from interlock._phases import Phase
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
    #: Lives that completed.
    completed: Share
    #: Rows that were never taken: first those of phases that were reached.
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


#: What may have a bound.
SHARES: Final = ("transitions", "guards", "completed")


def under(covered: Coverage, bounds: Iterable[tuple[str, float]]) -> list[str]:
    """Which bounds, in per cent, it is below, in sentences."""
    shares: dict[str, Share] = {name: getattr(covered, name) for name in SHARES}
    return [
        f"{what}: {shares[what]} is under {percent:g} %"
        for what, percent in bounds
        if shares[what].percent < percent
    ]


def noted_in(report: Report) -> list[str]:
    """What is worth a word, for whom it is a failure, in sentences."""
    return [f"note: {what} ({count:,} times)" for what, count in report.notes.items()]


def coverage_of(report: Report, table: Sequence[Row]) -> Coverage:
    """What a report covers of a table; what it counts of anything else does not matter."""
    keys = [row.key for row in table]
    reached = {None, *(dest for _, _, dest in report.hits)}
    missed = [key for key in keys if not report.hits.get(key)]
    never = tuple(sorted(missed, key=lambda key: key[0] not in reached))
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
        Share(report.outcomes.get(Phase.COMPLETED.value, 0), report.lives),
        never,
        one_sided,
    )
