"""Mutants of a lifecycle: the same table with one thing wrong.

A test-suite that means something fails with each of them.  What the lint refuses is no mutant,
since it could not be loaded; a row that no test takes needs no run to be missed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from interlock._event import Signal
from interlock._guards import Guard
from interlock._lint import lint, phases_of
from interlock._machine import Lifecycle, firing
from interlock._phases import Phase
from interlock._record import OWNED, TaskRecord
from interlock._transitions import Row
from interlock.diagram import Key
from interlock.testing.fuzz._coverage import arrow

#: What `interlock mutate` says to the process of the tests: a JSON object with `lifecycle`
#: (`module:NAME`), and `mutant` (an id) or `count` (the file to be written).
VARIABLE: Final = "INTERLOCK_MUTATE"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One thing that is wrong in one row."""

    #: The same in every process.
    id: str
    #: In words.
    text: str
    #: The row that it is in, as it should be.
    row: Key
    table: tuple[Row, ...]


def mutants_of(table: Sequence[Row]) -> tuple[Mutant, ...]:
    """Every mutant that could be loaded, row by row."""
    return tuple(mutant for mutant in _made(tuple(table)) if not lint(mutant.table))


def refused(table: Sequence[Row]) -> int:
    """How many more the lint refuses: no service can be started with them."""
    return sum(bool(lint(mutant.table)) for mutant in _made(tuple(table)))


def _made(table: tuple[Row, ...]) -> Iterator[Mutant]:
    for at, row in enumerate(table):
        if row.source is None:
            continue  # Nothing at all would come of a lifecycle without it.
        for id_, text, rows in _of_row(row, phases_of(table)):
            changed = (*table[:at], *rows, *table[at + 1 :])
            yield Mutant(f"{at}:{id_}", f"{arrow(row.key)}: {text}", row.key, changed)


def _of_row(row: Row, phases: Sequence[Phase]) -> Iterator[tuple[str, str, tuple[Row, ...]]]:
    yield "drop", "the row is gone", ()
    dest = _elsewhere(row, phases)
    if dest is not None:
        yield "redirect", f"it leads to {dest}", (replace(row, dest=dest),)
    for n, guard in enumerate(row.requires):
        left = (*row.requires[:n], *row.requires[n + 1 :])
        yield f"guard-{n}", f"without {guard.name}", (replace(row, requires=left),)
    if row.when is not None:
        yield "when", f"without {row.when.name}", (replace(row, when=None),)
        yield "when-not", f"{row.when.name} the other way", (replace(row, when=_not(row.when)),)
    for n, effect in enumerate(row.effects):
        effects = (*row.effects[:n], *row.effects[n + 1 :])
        kind = getattr(effect, "kind", None)
        name = type(effect).__name__ + (f"({kind})" if kind else "")
        yield f"effect-{n}", f"without {name}", (replace(row, effects=effects),)


def _elsewhere(row: Row, phases: Sequence[Phase]) -> Phase | None:
    """Another phase that owns the same data: one that does not would stop at the first move."""
    owned = OWNED[row.dest.kin]
    for phase in phases:
        if phase is not row.dest and OWNED[phase.kin] is owned:
            return phase
    return None


def _not(guard: Guard) -> Guard:
    return replace(guard, holds=partial(_refused, guard))


def _refused(guard: Guard, record: TaskRecord, signal: Signal) -> bool:
    return not guard.holds(record, signal)


#: What a lifecycle keeps of its table; see `install`.
_PARTS: Final = frozenset({"table", "phases", "_rows", "_by_source", "_fire"})


def install(lifecycle: Lifecycle, table: Sequence[Row]) -> None:
    """Have a lifecycle live by another table from now on: for whoever holds it, in place.

    The table is taken as it is, sound or not.
    """
    by_source: dict[object, list[Row]] = {}
    for row in table:
        by_source.setdefault((row.source, row.trigger), []).append(row)
    parts = {
        "table": tuple(table),
        "phases": phases_of(table),
        "_rows": {row.key: row for row in table},
        "_by_source": by_source,
        "_fire": firing(table),
    }
    kept = vars(lifecycle)
    assert parts.keys() == kept.keys() == _PARTS, "a lifecycle keeps something else now"
    kept.update(parts)
