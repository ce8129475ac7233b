"""The lifecycle as a picture made of text: phases are boxes, moves are tracks, journeys are lit.

Which phases and moves there are comes from the table; only where each phase stands is
written down here.  The tracks are found by a search that likes them short, straight and
free of crossings.  Tracks that leave one phase, or lead to one, may run together as
railway tracks do; any others may only cross.
"""

import functools
import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from interlock import LIFECYCLE, Phase, Trigger
from interlock_adapters.cli._ink import BOLD, DIM, Ink

#: None is where a task comes from.
Place: TypeAlias = Phase | None
Edge: TypeAlias = tuple[Place, Phase]
Cell: TypeAlias = tuple[int, int]

#: Columns and rows of the picture: a terminal has 80, and the last is better left empty.
WIDTH: Final = 79
HEIGHT: Final = 21
#: Left, top and width of each box.
STANDS: Final[Mapping[Place, tuple[int, int, int]]] = {
    None: (6, 9, 1),
    Phase.SUBMITTED: (0, 3, 13),
    Phase.RUNNING: (18, 3, 25),
    Phase.WAITING_INPUT: (22, 9, 17),
    Phase.WAITING_AUTH: (18, 15, 25),
    Phase.CANCELLING: (44, 12, 14),
    Phase.REJECTED: (63, 0, 13),
    Phase.COMPLETED: (63, 3, 13),
    Phase.FAILED: (63, 6, 13),
    Phase.TIMED_OUT: (63, 9, 13),
    Phase.CANCELLED: (63, 12, 13),
    Phase.FINALIZED: (63, 17, 13),
}
assert STANDS.keys() == {*Phase, None}, "every phase has its place"
_ORIGIN: Final = "●"
_STAYS: Final = "↻"

#: Directions; the opposite one is two further.
_UP, _RIGHT, _DOWN, _LEFT = range(4)
_AHEAD: Final = ((0, -1), (1, 0), (0, 1), (-1, 0))
_HEADS: Final = "▲▶▼◀"
#: By the weight (none, light, heavy) of the arms up, right, down, left: a number of base 3.
_LINES: Final = " ╴╸╷╮┑╻┒┓╶─╾╭┬┭┎┰┱╺╼━┍┮┯┏┲┳╵╯┙│┤┥╽┧┪╰┴┵├┼┽┟╁╅┕┶┷┝┾┿┢╆╈╹┚┛╿┦┩┃┨┫┖┸┹┞╀╃┠╂╉┗┺┻┡╄╇┣╊╋"
#: Borders of a box: corners, horizontal, vertical.
_LIGHT: Final = "┌┐└┘─│"
_HEAVY: Final = "┏┓┗┛━┃"

#: Beyond it is the next track: what went one way often is marked by the first time.
_MARK_CHARS_MAX: Final = 2

# What the search pays, in steps.
_BEND: Final = 4.0
_CROSSING: Final = 6.0
_TOGETHER: Final = -0.5
_BESIDE_A_BOX: Final = 0.6
_BESIDE_A_TRACK: Final = 0.6
_OFF_CENTRE: Final = 0.1


class Travelled(NamedTuple):
    """One move of a task."""

    trigger: Trigger
    source: Place
    dest: Phase


@dataclass(frozen=True, slots=True)
class Journey:
    """The moves of one task, to be lit in one colour and marked with one alphabet."""

    name: str
    moves: Sequence[Travelled]
    ink: Ink = BOLD
    marks: str = "123456789"

    def steps(self) -> Iterator[tuple[str, Travelled]]:
        """Every move that leads elsewhere, with its mark."""
        elsewhere = [move for move in self.moves if move.source is not move.dest]
        for index, move in enumerate(elsewhere):
            yield (self.marks[index] if index < len(self.marks) else str(index + 1)), move


class _Leg(NamedTuple):
    """How one track passes one cell; `goes` is None where it ends."""

    edge: Edge
    came: int
    goes: int | None


class _Mark(NamedTuple):
    glyph: str
    ink: Ink


def edges() -> dict[Edge, tuple[Trigger, ...]]:
    """The moves between phases that the table declares, and what causes each."""
    found: dict[Edge, dict[Trigger, None]] = {}
    for row in LIFECYCLE.table:
        if row.source is not row.dest:
            found.setdefault((row.source, row.dest), {})[row.trigger] = None
    return {edge: tuple(triggers) for edge, triggers in found.items()}


def stays(phase: Place) -> bool:
    """Whether something may happen to a task in that phase without moving it."""
    return any(row.source is phase and row.dest is phase for row in LIFECYCLE.table)


def picture(journeys: Sequence[Journey] = (), *, colour: bool) -> str:
    """The machine with the journeys lit: heavy where they went, light elsewhere."""
    grid = [[_Mark(" ", DIM)] * WIDTH for _ in range(HEIGHT)]
    lit: dict[Edge, Ink] = {}
    marks: dict[Edge, str] = {}
    seen: dict[Place, Ink] = {}
    for journey in journeys:
        for mark, move in journey.steps():
            edge = (move.source, move.dest)
            lit.setdefault(edge, journey.ink)
            marks[edge] = marks.get(edge, "") + mark
            for place in edge:
                seen.setdefault(place, journey.ink)
    for place in STANDS:
        _draw_box(grid, place, seen.get(place))
    tracks = _tracks()
    _draw_tracks(grid, tracks, lit)
    for edge, text in marks.items():
        if edge in tracks:  # A journey of another table than ours has no track here.
            _draw_mark(grid, tracks, edge, _Mark(text, lit[edge]))
    return "\n".join(_line(row, colour=colour) for row in grid)


# --- finding the tracks ---------------------------------------------------------------------


@functools.cache
def _tracks() -> dict[Edge, list[tuple[Cell, _Leg]]]:
    """Every edge's way over the board, the plain ones first so that they become straight."""
    search = _Search()
    return {edge: search.lay(edge) for edge in sorted(edges(), key=_distance)}


def _distance(edge: Edge) -> tuple[bool, float]:
    # What leads away from an outcome is of the least interest, and goes round the others.
    (left, top, width), (to_left, to_top, to_width) = STANDS[edge[0]], STANDS[edge[1]]
    gap = max(to_left - left - width, left - to_left - to_width, 0)
    return edge[1] is Phase.FINALIZED, gap + abs(to_top - top) / 2


class _Search:
    """Lays tracks one by one, each the cheapest way that those before it have left."""

    def __init__(self) -> None:
        self._solid: Final = {cell for place in STANDS for cell in _cells(place)}
        self._laid: Final[dict[Cell, list[_Leg]]] = {}

    def lay(self, edge: Edge) -> list[tuple[Cell, _Leg]]:
        """The cells from one box to the other, and how the track passes each."""
        steps = self._way(edge)
        track: list[tuple[Cell, _Leg]] = []
        for (cell, came), following in itertools.zip_longest(steps, steps[1:]):
            leg = _Leg(edge, came, None if following is None else following[1])
            track.append((cell, leg))
            self._laid.setdefault(cell, []).append(leg)
        return track

    def _way(self, edge: Edge) -> list[tuple[Cell, int]]:
        source, dest = edge
        ends = {(cell, (way + 2) % 4): extra for cell, way, extra in _ports(dest)}
        order = itertools.count()  # Decides between equals, so that the picture is the same.
        queue: list[tuple[float, int, Cell, int, tuple[Cell, int] | None]] = [
            (extra, next(order), cell, way, None) for cell, way, extra in _ports(source)
        ]
        heapq.heapify(queue)
        before: dict[tuple[Cell, int], tuple[Cell, int] | None] = {}
        while queue:
            paid, _, cell, way, origin = heapq.heappop(queue)
            here = (cell, way)
            if here in before:
                continue
            before[here] = origin
            if here in ends and self._price(edge, cell, way, None) is not None:
                return _back(before, here)
            for goes in range(4):
                price = None if goes == (way + 2) % 4 else self._price(edge, cell, way, goes)
                if price is None:
                    continue
                there = (cell[0] + _AHEAD[goes][0], cell[1] + _AHEAD[goes][1])
                price += ends.get((there, goes), 0.0)
                heapq.heappush(queue, (paid + price, next(order), there, goes, here))
        raise ValueError(f"no track can be laid from {source} to {dest}")

    def _price(self, edge: Edge, cell: Cell, came: int, goes: int | None) -> float | None:
        """What it costs to pass a cell so; None if that cannot be."""
        x, y = cell
        if not (0 <= x < WIDTH and 0 <= y < HEIGHT) or cell in self._solid:
            return None
        price = 1.0 if goes in {came, None} else 1.0 + _BEND
        for dx, dy in _AHEAD:
            beside = (x + dx, y + dy)
            if beside in self._solid:
                price += _BESIDE_A_BOX
            elif any(leg.came % 2 == came % 2 for leg in self._laid.get(beside, ())):
                price += _BESIDE_A_TRACK
        legs = self._laid.get(cell, [])
        if not legs:
            return price
        together = all(leg.edge[0] is edge[0] for leg in legs) or all(
            leg.edge[1] is edge[1] for leg in legs
        )
        if together:
            against = any((leg.came + 2) % 4 == came for leg in legs)
            return None if against else price + _TOGETHER
        across = all(leg.came == leg.goes and (leg.came - came) % 2 for leg in legs)
        return price + _CROSSING if across and goes == came else None


def _back(
    before: Mapping[tuple[Cell, int], tuple[Cell, int] | None], last: tuple[Cell, int]
) -> list[tuple[Cell, int]]:
    steps: list[tuple[Cell, int]] = []
    step: tuple[Cell, int] | None = last
    while step is not None:
        steps.append(step)
        step = before[step]
    return steps[::-1]


def _box(place: Place) -> tuple[int, int, int, int]:
    left, top, width = STANDS[place]
    return left, top, width, 1 if place is None else 3


def _cells(place: Place) -> Iterator[Cell]:
    left, top, width, height = _box(place)
    return itertools.product(range(left, left + width), range(top, top + height))


def _ports(place: Place) -> Iterator[tuple[Cell, int, float]]:
    """The cells around a box, the direction away from it, and how far off the middle."""
    left, top, width, height = _box(place)
    middle = left + width // 2
    for x in range(left + (width > 1), left + width - (width > 1)):
        yield (x, top - 1), _UP, _OFF_CENTRE * abs(x - middle)
        yield (x, top + height), _DOWN, _OFF_CENTRE * abs(x - middle)
    yield (left - 1, top + height // 2), _LEFT, 0.0
    yield (left + width, top + height // 2), _RIGHT, 0.0


# --- drawing --------------------------------------------------------------------------------


def _draw_box(grid: list[list[_Mark]], place: Place, ink: Ink | None) -> None:
    left, top, width, _ = _box(place)
    if place is None:
        grid[top][left] = _Mark(_ORIGIN, ink or DIM)
        return
    corners = _LIGHT if ink is None else _HEAVY
    top_left, top_right, bottom_left, bottom_right, line, side = tuple(corners)
    inner = width - 2
    lid = line * (inner - 2) + _STAYS + line if stays(place) else line * inner
    rows = (
        top_left + lid + top_right,
        side + place.value.center(inner) + side,
        bottom_left + line * inner + bottom_right,
    )
    for y, row in enumerate(rows, start=top):
        for x, glyph in enumerate(row, start=left):
            grid[y][x] = _Mark(glyph, ink or DIM)


def _draw_tracks(
    grid: list[list[_Mark]],
    tracks: Mapping[Edge, Iterable[tuple[Cell, _Leg]]],
    lit: Mapping[Edge, Ink],
) -> None:
    passing: dict[Cell, list[_Leg]] = {}
    for track in tracks.values():
        for cell, leg in track:
            passing.setdefault(cell, []).append(leg)
    for (x, y), legs in passing.items():
        arms = [0, 0, 0, 0]
        head: str | None = None
        here = {leg.edge for leg in legs}
        # Where journeys run together, the first one's colour shows.
        ink = next((ink for edge, ink in lit.items() if edge in here), DIM)
        for leg in legs:
            weight = 2 if leg.edge in lit else 1
            arms[(leg.came + 2) % 4] = max(arms[(leg.came + 2) % 4], weight)
            if leg.goes is None:
                head = _HEADS[leg.came]
            else:
                arms[leg.goes] = max(arms[leg.goes], weight)
        up, right, down, left = arms
        grid[y][x] = _Mark(head or _LINES[up * 27 + right * 9 + down * 3 + left], ink)


def _draw_mark(
    grid: list[list[_Mark]],
    tracks: Mapping[Edge, Sequence[tuple[Cell, _Leg]]],
    edge: Edge,
    mark: _Mark,
) -> None:
    """Write the mark over the middle of the longest straight piece that is this track's own."""
    shared = {cell for other, track in tracks.items() if other != edge for cell, _ in track}
    straight = [
        (cell, leg.came)
        for cell, leg in tracks[edge]
        if leg.came == leg.goes and cell not in shared
    ]
    if not straight:
        return
    pieces = [list(piece) for _, piece in itertools.groupby(straight, key=lambda one: one[1])]
    piece = max(pieces, key=len)
    x, y = piece[len(piece) // 2][0]
    text = mark.glyph if len(mark.glyph) <= _MARK_CHARS_MAX else mark.glyph[0] + "…"
    for glyph in text:
        grid[y][x] = _Mark(glyph, mark.ink)
        x += 1


def _line(row: Sequence[_Mark], *, colour: bool) -> str:
    if not colour:
        return "".join(mark.glyph for mark in row).rstrip()
    pieces = itertools.groupby(row, key=lambda mark: mark.ink)
    return "".join(ink("".join(mark.glyph for mark in marks)) for ink, marks in pieces).rstrip()
