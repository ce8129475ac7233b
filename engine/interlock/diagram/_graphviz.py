"""Graphviz, as pygraphviz brings it along: no program of the system is called.

The only module that imports it, and only when something is to be drawn.
"""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from interlock.errors import EngineError

#: x and y in points; y goes down, as on a screen.
Point: TypeAlias = tuple[float, float]

_DIGITS: Final = 2


class GraphvizMissing(EngineError):
    """SVG and PNG need an extra that is not installed; every other format does without."""

    code = "graphviz_missing"

    def __init__(self, module: str) -> None:
        super().__init__(
            f"{module} is missing: SVG and PNG need an extra, pip install 'interlock[diagram]'"
        )


class Frame(NamedTuple):
    """A rectangle: its left upper corner and its size, in points."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        """The middle of it."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of Bézier curves; with a head it ends in one, `tip` and the point before it."""

    points: tuple[Point, ...]
    tip: Point | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands, by the names that it has in the graph."""

    width: float
    height: float
    nodes: dict[str, Frame]
    clusters: dict[str, Frame]
    curves: dict[tuple[str, str], Curve]

    def curve(self, start: str, end: str) -> Curve:
        """The line between two nodes, whichever way round it was declared."""
        if (start, end) in self.curves:
            return self.curves[start, end]
        declared = self.curves[end, start]
        if declared.tip is not None:
            return declared  # turned already, for its head is where it was said to begin
        return Curve(tuple(reversed(declared.points)), None)


def layout_of(graph: str) -> Layout:
    """Where Graphviz would put everything; it is not to be changed.

    Graphviz keeps the interpreter to itself for some 40 ms: nobody is to have the same drawn again
    and again.

    Raises:
        GraphvizMissing: pygraphviz is not installed.
    """
    _pygraphviz()
    return _laid_out(graph)


@lru_cache(maxsize=64)
def _laid_out(graph: str) -> Layout:
    found: dict[str, Any] = json.loads(_drawn(graph, "json0"))
    left, bottom, right, top = _numbers(found["bb"])
    layout = Layout(_rounded(right - left), _rounded(top - bottom), {}, {}, {})
    names: dict[int, str] = {}
    for thing in found.get("objects", ()):
        name: str = thing["name"]
        names[thing["_gvid"]] = name
        if "pos" in thing:
            x, y = _numbers(thing["pos"])
            size = 72 * float(thing["width"]), 72 * float(thing["height"])
            layout.nodes[name] = _frame(x - size[0] / 2, top - y - size[1] / 2, *size)
        elif "bb" in thing and "nodes" in thing:
            x1, y1, x2, y2 = _numbers(thing["bb"])
            layout.clusters[name] = _frame(x1, top - y2, x2 - x1, y2 - y1)
    for edge in found.get("edges", ()):
        ends = names[edge["tail"]], names[edge["head"]]
        layout.curves[ends] = _curve(edge["pos"], top)
    return layout


def png_of(graph: str, *, dots_per_inch: int) -> bytes:
    """The graph as a PNG.

    Raises:
        GraphvizMissing: pygraphviz is not installed.
    """
    return _drawn(graph.replace("graph [", f"graph [dpi={dots_per_inch}, ", 1), "png")


def _drawn(graph: str, what: str) -> bytes:
    drawn: bytes = _pygraphviz().AGraph(string=graph).draw(format=what, prog="dot")
    return drawn


def _curve(pos: str, top: float) -> Curve:
    """`s,x,y` is a head at the beginning, `e,x,y` one at the end; the curve ends before it."""
    tip: Point | None = None
    points: list[Point] = []
    at_start = False
    for part in pos.split():
        kind, _, rest = part.rpartition(",") if part[0].isdigit() else part.partition(",")
        x, y = _numbers(part if kind not in {"s", "e"} else rest)
        point = _rounded(x), _rounded(top - y)
        if kind in {"s", "e"}:
            tip, at_start = point, kind == "s"
        else:
            points.append(point)
    return Curve(tuple(reversed(points)) if at_start else tuple(points), tip)


def _frame(left: float, top: float, width: float, height: float) -> Frame:
    return Frame(*map(_rounded, (left, top, width, height)))


def _numbers(listed: str) -> Iterator[float]:
    return (float(number) for number in listed.split(","))


def _rounded(number: float) -> float:
    # Adding zero makes 0 of -0, which would be written otherwise.
    return round(number, _DIGITS) + 0.0


def _pygraphviz() -> Any:  # noqa: ANN401  it has no types
    try:
        return importlib.import_module("pygraphviz")
    except ModuleNotFoundError as missing:
        raise GraphvizMissing(missing.name or "pygraphviz") from None
