"""The table as a picture: boxes, arrows and what is written on them, as data.

Every renderer takes this, so that all of them show the same.  Rows between the same two phases
share one arrow; of these, triggers under the same condition and with the same effects share one
clause.  Rows that stay in their phase are written into its box.  So eighty rows make some
thirty arrows, and the picture can be read.

`Publish` is left out of what an arrow says: nearly every row has it.  What must hold for a
trigger not to be refused is left out too.  Both are in `rows`, for whoever wants to know more.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from interlock._effects import (
    ArmTimer,
    DisarmTimer,
    Effect,
    Publish,
    StartTurn,
)
from interlock._phases import Group, Phase, group_of
from interlock._transitions import Row
from interlock.diagram._document import Declared

#: What the words on an arrow mean, for the foot of a picture.
_LEGEND_ARROWS: Final = (
    "[condition] chooses between arrows. / is what the engine then does: "
    "+run arms a timer, -run disarms it."
)
_LEGEND_BOXES: Final = (
    "In a box: what may happen without leaving it. Not drawn: publish, and what a trigger requires."
)
LEGEND: Final = (_LEGEND_ARROWS, _LEGEND_BOXES)
#: Of a picture on which nothing is done.
_LEGEND_PLAIN: Final = (
    "[condition] chooses between arrows.",
    "In a box: what may happen without leaving it. Not drawn: effects, what a trigger requires.",
)

_WORD: Final = re.compile("(?<=[a-z])(?=[A-Z])")
_NOT_PLAIN: Final = re.compile("[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence on an arrow: any of these triggers, if the condition holds, does that."""

    triggers: tuple[str, ...]
    #: In words; "else" for the last of several rows, "" where there is nothing to choose.
    condition: str
    #: In short words, without `Publish`: `start turn`, `+run`, `-ask`.
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """One phase."""

    #: `state-` and the name, made of ASCII letters, digits and underscores; of one picture only.
    id: str
    phase: Phase
    group: Group
    #: What may happen to a task without its leaving the phase.
    stays: tuple[Clause, ...]
    #: The rows of that, and what chooses each among those of its trigger, in words.
    rows: tuple[Row, ...]
    conditions: tuple[str, ...]
    #: Whether no row leaves it: derived from the table, not listed a second time.
    final: bool

    @property
    def name(self) -> str:
        """As people read it."""
        return self.phase.value


@dataclass(frozen=True, slots=True)
class Arrow:
    """All rows that lead from one phase to another one."""

    #: `edge-` and the names of both ends; `edge-new-submitted` for the one that makes a task.
    id: str
    #: None for the row that makes a task.
    source: Box | None
    dest: Box
    clauses: tuple[Clause, ...]
    #: Its rows, and what chooses each among those of its trigger, in words.
    rows: tuple[Row, ...]
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The phases of one stretch of life, drawn together."""

    #: `group-` and the name of the group.
    id: str
    group: Group
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to draw, in the order of a task's life."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    clusters: tuple[Cluster, ...]

    @property
    def legend(self) -> tuple[str, ...]:
        """What its words mean, line by line."""
        clauses = [clause for way in self.ways for clause in _clauses(way)]
        return LEGEND if any(clause.effects for clause in clauses) else _LEGEND_PLAIN

    @property
    def ways(self) -> "tuple[Arrow | Box, ...]":
        """Everything on which rows are drawn: arrows, and boxes that something stays in."""
        return (*self.arrows, *(box for box in self.boxes if box.rows))

    def box(self, phase: Phase) -> Box:
        """The box of a phase.

        Raises:
            KeyError: the lifecycle has no such phase.
        """
        for box in self.boxes:
            if box.phase == phase:
                return box
        raise KeyError(phase)

    def way(self, source: Phase | None, dest: Phase) -> Arrow | Box:
        """What is drawn for moves between the two: an arrow, or the box that is not left.

        Raises:
            KeyError: the table has no such row.
        """
        if source == dest and (box := self.box(dest)).rows:
            return box
        for arrow in self.arrows:
            if arrow.dest.phase == dest and source == (arrow.source and arrow.source.phase):
                return arrow
        raise KeyError((source, dest))


def _clauses(way: Arrow | Box) -> tuple[Clause, ...]:
    return way.stays if isinstance(way, Box) else way.clauses


def picture_of(lifecycle: Declared) -> Picture:
    """The picture of a lifecycle; the same table gives the same picture."""
    table = lifecycle.table
    ends: dict[tuple[Phase | None, Phase], list[Row]] = {}
    for row in table:
        ends.setdefault((row.source, row.dest), []).append(row)
    left = {source for source, _ in ends}
    boxes: dict[Phase, Box] = {}
    for phase, name in _plain_names(lifecycle.phases):
        said = _said(ends.get((phase, phase), ()), table)
        final = phase not in left
        boxes[phase] = Box(f"state-{name}", phase, group_of(phase), *said, final=final)
    arrows: list[Arrow] = []
    for (source, dest), rows in ends.items():
        if source != dest:
            start, end = None if source is None else boxes[source], boxes[dest]
            arrows.append(Arrow(arrow_id(start, end), start, end, *_said(rows, table)))
    return Picture(tuple(boxes.values()), tuple(arrows), tuple(clusters_of(boxes.values())))


def in_full(row: Row, condition: str) -> str:
    """Everything that a row says, in one line of words."""
    line = row.trigger.value + (f" [{condition}]" if condition else "")
    if row.requires:
        line += ", if " + " and ".join(_words(guard.name) for guard in row.requires)
    effects = [effect_words(effect) for effect in row.effects]
    return f"{line} / {', '.join(effects)}" if effects else line


def condition_of(row: Row, table: Sequence[Row]) -> str:
    """What chooses this row among those of its trigger, in words."""
    if row.when is not None:
        return _words(row.when.name)
    pair = (row.source, row.trigger)
    alone = sum((other.source, other.trigger) == pair for other in table) == 1
    return "" if alone else "else"


def effect_words(effect: Effect) -> str:
    """An effect in as few words as a picture has room for."""
    match effect:
        case ArmTimer(kind=kind):
            return f"+{kind.value}"
        case DisarmTimer(kind=kind):
            return f"-{kind.value}"
        case StartTurn(replay=True):
            return "replay turn"
        case _:
            return _WORD.sub(" ", type(effect).__name__).lower()


def _said(
    rows: Sequence[Row], table: Sequence[Row]
) -> tuple[tuple[Clause, ...], tuple[Row, ...], tuple[str, ...]]:
    """Of rows with the same ends: a clause for each condition and effects; them; conditions."""
    conditions = tuple(condition_of(row, table) for row in rows)
    triggers: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for row, condition in zip(rows, conditions, strict=True):
        what = (condition, tuple(_drawn(row.effects)))
        triggers.setdefault(what, []).append(row.trigger.value)
    clauses = tuple(Clause(tuple(names), *what) for what, names in triggers.items())
    return clauses, tuple(rows), conditions


def clusters_of(boxes: Iterable[Box]) -> Iterator[Cluster]:
    """The boxes by their groups, each in the order in which it first comes."""
    groups: dict[Group, list[Box]] = {}
    for box in boxes:
        groups.setdefault(box.group, []).append(box)
    for group, members in groups.items():
        yield Cluster(f"group-{group.value}", group, tuple(members))


def _drawn(effects: Iterable[Effect]) -> Iterator[str]:
    """What an arrow says: first what is done, then the timers."""
    shown = [effect for effect in effects if not isinstance(effect, Publish)]
    for timers in (False, True):
        for effect in shown:
            if isinstance(effect, ArmTimer | DisarmTimer) is timers:
                yield effect_words(effect)


def arrow_id(start: Box | None, end: Box) -> str:
    """The id of the arrow between two boxes: see `Arrow.id`."""
    ends = ("new" if start is None else start.id, end.id)
    return "-".join(["edge", *(each.removeprefix("state-") for each in ends)])


def _plain_names(phases: Iterable[Phase]) -> Iterator[tuple[Phase, str]]:
    """A name for ids of each phase; no two the same, and none with a hyphen, which parts ends."""
    taken = {"new"}
    for phase in phases:
        name = plain = _NOT_PLAIN.sub("_", phase.value) or "_"
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        yield phase, name


def _words(name: str) -> str:
    return name.replace("_", " ")
