"""Parts of a lifecycle, for pictures that show less: what one ask needs, or what was taken.

A part is drawn and never run: it is `Declared`, and no `Lifecycle`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from interlock import _guards as guards
from interlock._phases import ANSWERS, CLOSES, WAITING, Phase, Trigger
from interlock._transitions import Key, Row
from interlock.diagram._document import Declared

#: What opens an ask or closes one: from one wait into another only with two of them.
_OF_ASKS: Final = CLOSES | {Trigger.ASK}
_DECISIONS: Final = frozenset({Trigger.APPROVE, Trigger.DENY})


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a lifecycle, and phases of it in the order of a life."""

    table: tuple[Row, ...]
    phases: tuple[Phase, ...]


def simplified(lifecycle: Declared) -> Part:
    """What an agent needs that asks one thing after the other, without effects.

    The rows that need two open asks are left out, and with them the condition that the ask is the
    last one.  All other rows keep their source, trigger and dest.
    """
    rows = tuple(_plain(row) for row in lifecycle.table if not _needs_two_asks(row))
    return Part(rows, tuple(lifecycle.phases))


def taken(lifecycle: Declared, hits: Mapping[Key, int]) -> Part:
    """The rows that were taken at least once, and the phases that they lead from and to."""
    rows = tuple(row for row in lifecycle.table if hits.get(row.key, 0))
    return Part(rows, _within(lifecycle.phases, rows))


def _within(phases: Sequence[Phase], rows: Sequence[Row]) -> tuple[Phase, ...]:
    ends = {end for row in rows for end in (row.source, row.dest)}
    return tuple(phase for phase in phases if phase in ends)


def _needs_two_asks(row: Row) -> bool:
    if row.source is None or row.source not in WAITING:
        return False
    if row.trigger in _OF_ASKS and row.dest in WAITING:
        return True
    # A phase shows the one ask that is open: what closes another kind closes one beside it.
    other = _DECISIONS if row.source.kin is Phase.WAITING_INPUT else ANSWERS - _DECISIONS
    return row.trigger in other


def _plain(row: Row) -> Row:
    when = None if row.when is guards.it_is_the_last_ask else row.when
    return replace(row, effects=(), when=when)
