"""What a picture can show beyond the table: each layer is a `Look` on it, or on two of them.

The lines of a layer do not move boxes; its notes may, for they need room.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from interlock._event import Event
from interlock._phases import Phase
from interlock._transitions import Key, Row
from interlock.diagram._document import Declared, effect_text
from interlock.diagram._look import Look, Style
from interlock.diagram._picture import (
    Arrow,
    Box,
    Picture,
    arrow_id,
    clusters_of,
    picture_of,
)

_TAKEN: Final = "#1565c0"
_HERE: Final = "#ffd54f"
_COVERED: Final = "#2e7d32"
_NEVER: Final = "#c62828"
_PARTLY: Final = "#b26a00"
#: Points: of the thinnest line that means something, and of the thickest.
_THIN_PT, _THICK_PT = 1.6, 6.0
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
#: Beyond it, tenths of a second say nothing.
_TENTHS_UP_TO_S: Final = 100.0
#: Steps named on one arrow, and rows named on one that were never taken.
_NAMED_MAX: Final = 4


def path_of(picture: Picture, events: Sequence[Event], title: str = "The path of a task") -> Look:
    """One task's way, lit: its steps numbered, with the seconds since it was made.

    Moves that do not leave a phase are counted in its box.  Where the task stands is filled.

    Raises:
        KeyError: an event is no row of the lifecycle.
    """
    if not events:
        return Look(title, {}, Style(faint=True))
    began = events[0].at
    ways: dict[str, list[str]] = {}
    stayed: dict[str, int] = {}
    step = 0
    for event in events:
        way = picture.way(event.source, event.dest)
        if isinstance(way, Box):
            stayed[way.id] = stayed.get(way.id, 0) + 1
            continue
        step += 1
        ways.setdefault(way.id, []).append(f"{step} {event.trigger} {elapsed(event.at - began)}")
    styles = {
        arrow: Style(colour=_TAKEN, width=2.6, note="; ".join(_some(steps)), kind="taken")
        for arrow, steps in ways.items()
    }
    for phase in {event.dest: None for event in events}:
        box, here = picture.box(phase), phase == events[-1].dest
        times = stayed.get(box.id, 0)
        styles[box.id] = Style(
            colour=_TAKEN,
            fill=_HERE if here else "",
            width=3.2 if here else 2.2,
            note=f"{times} more while here" if times else "",
            kind="here" if here else "taken",
        )
    return Look(title, styles, Style(faint=True))


def population(
    picture: Picture, counts: Mapping[Phase, int], title: str = "Where tasks are"
) -> Look:
    """How many tasks are in each phase; a phase without any stays in the background.

    Raises:
        KeyError: the lifecycle has no such phase.
    """
    most = max(counts.values(), default=0)
    styles = {
        picture.box(phase).id: Style(
            colour=_TAKEN, width=_weight(count, most), note=f"{count:,} now", kind="populated"
        )
        for phase, count in counts.items()
        if count > 0
    }
    empty = {box.id: Style(faint=True) for box in picture.boxes if box.id not in styles}
    return Look(title, {**empty, **styles})


def coverage(picture: Picture, hits: Mapping[Key, int], title: str = "Coverage") -> Look:
    """How often each row was taken: as wide as often, and dashed red where never.

    What is partly covered is marked, with the triggers that were never seen there.  The title
    says how many of the rows were.
    """
    sums = {way.id: sum(hits.get(row.key, 0) for row in way.rows) for way in picture.ways}
    rows = [row for way in picture.ways for row in way.rows]
    seen = sum(hits.get(row.key, 0) > 0 for row in rows)
    most = max(sums.values(), default=0)
    styles: dict[str, Style] = {}
    for way in picture.ways:
        missed = [row.trigger.value for row in way.rows if not hits.get(row.key, 0)]
        count = sums[way.id]
        if not count:
            styles[way.id] = Style(colour=_NEVER, dashed=True, note="never", kind="never")
            continue
        note = f"{_TIMES}{count:,}" + (f", never {', '.join(_some(missed))}" if missed else "")
        styles[way.id] = Style(
            colour=_PARTLY if missed else _COVERED,
            width=_weight(count, most),
            note=note,
            kind="partly" if missed else "covered",
        )
    return Look(f"{title}: {seen} of {len(rows)} rows", styles)


def difference(old: Declared, new: Declared, title: str = "What changed") -> tuple[Picture, Look]:
    """Both versions on one picture: what came is green, what went dashed red, the rest grey."""
    before, after = picture_of(old), picture_of(new)
    both = _merged(after, before)
    styles: dict[str, Style] = {}
    ways: list[Arrow | Box] = [*both.boxes, *both.arrows]
    for way in ways:
        earlier, later = _rows_at(before, way), _rows_at(after, way)
        if earlier is None:
            styles[way.id] = Style(colour=_COVERED, width=2.6, note="new", kind="new")
        elif later is None:
            styles[way.id] = Style(colour=_NEVER, dashed=True, note="gone", kind="gone")
        elif changes := ", ".join(_changes(earlier, later)):
            styles[way.id] = Style(colour=_PARTLY, width=2.6, note=changes, kind="changed")
    return both, Look(title, styles, Style(faint=True))


def _merged(after: Picture, before: Picture) -> Picture:
    """The later picture, and behind it what only the earlier one has."""
    boxes = {box.phase: box for box in after.boxes}
    ids = {box.id for box in after.boxes}
    for box in before.boxes:
        if box.phase not in boxes:
            name = box.id
            while name in ids:
                name += "_old"
            ids.add(name)
            boxes |= {box.phase: replace(box, id=name)}
    arrows = list(after.arrows)
    ways = {_ends(arrow) for arrow in arrows}
    for arrow in before.arrows:
        if _ends(arrow) not in ways:
            source = None if arrow.source is None else boxes[arrow.source.phase]
            dest = boxes[arrow.dest.phase]
            arrows.append(replace(arrow, id=arrow_id(source, dest), source=source, dest=dest))
    members = tuple(boxes.values())
    return Picture(members, tuple(arrows), tuple(clusters_of(members)))


def _ends(arrow: Arrow) -> tuple[Phase | None, Phase]:
    return None if arrow.source is None else arrow.source.phase, arrow.dest.phase


def _rows_at(picture: Picture, way: Arrow | Box) -> tuple[Row, ...] | None:
    """The rows of the same box or arrow in another picture; None if it has no such thing."""
    if isinstance(way, Box):
        return next((box.rows for box in picture.boxes if box.phase == way.phase), None)
    return next((each.rows for each in picture.arrows if _ends(each) == _ends(way)), None)


def _changes(earlier: Iterable[Row], later: Iterable[Row]) -> Iterator[str]:
    old = {row.trigger.value: _meaning(row) for row in earlier}
    new = {row.trigger.value: _meaning(row) for row in later}
    yield from (f"+{trigger}" for trigger in new if trigger not in old)
    yield from (f"-{trigger}" for trigger in old if trigger not in new)
    yield from (f"~{each}" for each in new if each in old and new[each] != old[each])


def _meaning(row: Row) -> tuple[object, ...]:
    """What makes a row what it is, beside its ends; a change is known by its name."""
    return (
        None if row.when is None else row.when.name,
        [guard.name for guard in row.requires],
        [effect_text(effect) for effect in row.effects],
        getattr(row.change, "__name__", ""),
    )


def _weight(count: int, most: int) -> float:
    """By the logarithm: what is a thousand times as often is not a thousand times as wide."""
    share = math.log1p(count) / math.log1p(most)
    return round(_THIN_PT + (_THICK_PT - _THIN_PT) * share, 2)


def elapsed(elapsed_s: float) -> str:
    """A length of time in seconds, as exact as it is of interest."""
    return f"{elapsed_s:.1f} s" if elapsed_s < _TENTHS_UP_TO_S else f"{elapsed_s:,.0f} s"


def _some(names: Sequence[str]) -> list[str]:
    shown = list(names[:_NAMED_MAX])
    return shown if len(names) <= _NAMED_MAX else [*shown, f"{len(names) - _NAMED_MAX} more"]
