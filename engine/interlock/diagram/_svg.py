"""The picture as SVG, written here; Graphviz only says where everything stands.

So the bytes do not depend on the fonts of a machine, and every box, arrow and group is one
element with a stable `id` and `class`.  How they look is said in attributes, which every style
sheet overrules: `#edge-running-completed { color: red }` lights one arrow.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from interlock._phases import Group
from interlock._transitions import Row
from interlock.diagram._document import text as storable
from interlock.diagram._dot import (
    COLOURS,
    FAINT,
    FONT,
    GROUP_LABEL_PT,
    INK,
    LINE,
    LINE_WIDTH_PT,
    ORIGIN,
    SIDE_BY_SIDE,
    area_is_drawn,
    classes,
    colour_of_line,
    fill_of_box,
    layout_dot,
    width_of_line,
)
from interlock.diagram._graphviz import Curve, Frame, Layout, Point, layout_of
from interlock.diagram._lines import (
    SIZE_PT,
    Line,
    Span,
    height_pt,
    line_pt,
    lines_of_arrow,
    lines_of_box,
    lines_of_caption,
    width_pt,
)
from interlock.diagram._look import Look, Style
from interlock.diagram._picture import Arrow, Box, Cluster, Picture, in_full

_MARGIN: Final = 8
_PAPER: Final = 'fill="#ffffff"'
_ROUND: Final = 9
#: Of the baseline in a line, from its top.
_BASELINE: Final = 0.74
#: Between the two rings of a final phase; Graphviz counts both to the box.
_RING_PT: Final = 4
#: Half of an arrow's head across: so much, and it grows with the line.
_HEAD_HALF_PT, _HEAD_GROWS = 2.9, 0.55
_DASHES: Final = "5 4"


def svg_of(picture: Picture, look: Look) -> str:
    """The picture as an SVG document; lengths are pixels, as wide as the text needs.

    Raises:
        GraphvizMissing: pygraphviz is not installed.
    """
    layout = layout_of(layout_dot(picture, look))
    caption = lines_of_caption(look.title, picture.legend)
    width = max(layout.width, width_pt(caption)) + 2 * _MARGIN
    height = layout.height + height_pt(caption) + 3 * _MARGIN
    box = f"{-_MARGIN} {-_MARGIN} {width:.0f} {height:.0f}"
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lifecycle" viewBox="{box}"',
        f'     width="{width:.0f}" height="{height:.0f}" font-family="{FONT}" role="img"',
        '     aria-labelledby="lifecycle-title" aria-describedby="lifecycle-legend">',
        f'<title id="lifecycle-title">{_text(look.title)}</title>',
        f'<desc id="lifecycle-legend">{_text(" ".join(picture.legend))}</desc>',
        f'<rect class="ground" x="{-_MARGIN}" y="{-_MARGIN}" width="100%" height="100%" {_PAPER}/>',
        '<g class="clusters">',
        *(line for each in picture.clusters for line in _cluster(each, layout)),
        "</g>",
        f'<g class="moves" fill="none" color="{LINE}" stroke-width="{LINE_WIDTH_PT:g}">',
        *(line for each in picture.arrows for line in _arrow(each, look.of(each.id), layout)),
        "</g>",
        f'<g class="states" color="{LINE}" stroke-width="{LINE_WIDTH_PT:g}">',
        _origin(layout.nodes[ORIGIN]),
        *(line for each in picture.boxes for line in _box(each, look.of(each.id), layout)),
        "</g>",
        '<g class="caption">',
        *_written(caption, Frame(0, layout.height + _MARGIN, width - 2 * _MARGIN, 0), Style()),
        "</g>",
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"


def _cluster(cluster: Cluster, layout: Layout) -> Iterator[str]:
    if not area_is_drawn(cluster):
        return
    frame = layout.clusters[f"cluster_{cluster.group.value}"]
    area, border, _ = COLOURS[cluster.group]
    yield f'<g id="{cluster.id}" class="cluster {cluster.id}">'
    yield f"<title>{cluster.group.value}</title>"
    yield _rect(frame, f'rx="{_ROUND + 3}" fill="{area}" stroke="{border}"')
    below = cluster.group in SIDE_BY_SIDE
    x, y = frame.left + 12, frame.top + (frame.height - 7 if below else GROUP_LABEL_PT[1] + 3)
    yield (
        f'<text x="{x:.2f}" y="{y:.2f}" font-size="12" fill="{INK["effect"]}">'
        f"{cluster.group.value}</text>"
    )
    yield "</g>"


def _origin(frame: Frame) -> str:
    x, y = frame.centre
    radius = frame.width / 2
    return (
        f'<g id="{ORIGIN}" class="origin"><title>where a task begins</title>'
        f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="{INK["name"]}"/></g>'
    )


def _box(box: Box, style: Style, layout: Layout) -> Iterator[str]:
    frame = layout.nodes[box.id]
    yield _opened(box.id, classes("state", box.group, style), style)
    yield from _title(box.name, box.group, box.rows, box.conditions)
    if box.final:
        yield _rect(frame, f'rx="{_ROUND}" {_PAPER} stroke="currentColor"')
        frame = _shrunk(frame, _RING_PT)
    fill = f'rx="{_ROUND}" fill="{fill_of_box(box, style)}"'
    yield _rect(frame, f'{fill} stroke="currentColor"')
    yield from _written(lines_of_box(box, style.note), frame, style)
    yield "</g>"


def _arrow(arrow: Arrow, style: Style, layout: Layout) -> Iterator[str]:
    source = ORIGIN if arrow.source is None else arrow.source.id
    yield _opened(arrow.id, classes("move", arrow.dest.group, style), style)
    start = "a new task" if arrow.source is None else arrow.source.name
    way = f"{start} to {arrow.dest.name}"
    yield from _title(way, arrow.dest.group, arrow.rows, arrow.conditions)
    for ends in ((source, arrow.id), (arrow.id, arrow.dest.id)):
        curve = layout.curve(*ends)
        yield f'<path class="line" stroke="currentColor" d="{_path(curve)}"/>'
        if curve.tip is not None:
            head = _head(curve, width_of_line(style))
            yield f'<path class="head" fill="currentColor" d="{head}"/>'
    yield from _written(lines_of_arrow(arrow, style.note), layout.nodes[arrow.id], style)
    yield "</g>"


def _opened(name: str, kinds: str, style: Style) -> str:
    said = "".join(f' {what}="{value}"' for what, value in drawn_with(style))
    return f'<g id="{name}" class="{kinds}"{said}>'


def drawn_with(style: Style) -> Iterator[tuple[str, str]]:
    """What a style comes to, as attributes of an element or properties in a style sheet."""
    if style.colour or style.faint:
        yield "color", colour_of_line(style)
    if style.width is not None:
        yield "stroke-width", f"{width_of_line(style):g}"
    if style.dashed:
        yield "stroke-dasharray", _DASHES


def _title(
    what: str, group: Group, rows: Sequence[Row], conditions: Sequence[str]
) -> Iterator[str]:
    """What a browser shows beside the pointer: every row in full."""
    lines = [f"{what} ({group.value})"]
    lines += [in_full(row, condition) for row, condition in zip(rows, conditions, strict=True)]
    said = "\n".join(map(_text, lines))
    yield f"<title>{said}</title>"


def _written(lines: Sequence[Line], frame: Frame, style: Style) -> Iterator[str]:
    """Lines in the middle of a frame; of no height, they begin at its top."""
    x, middle = frame.centre
    y = middle - height_pt(lines) / 2 if frame.height else frame.top
    if not lines:
        return
    yield f'<text text-anchor="middle" fill="{FAINT if style.faint else INK["trigger"]}">'
    for line in lines:
        baseline = y + line_pt(line) * _BASELINE
        y += line_pt(line)
        spans = " ".join(_span(span, style) for span in line)
        yield f'<tspan x="{x:.2f}" y="{baseline:.2f}">{spans}</tspan>'
    yield "</text>"


def _span(span: Span, style: Style) -> str:
    kind, said = span
    shown = [f'class="{kind}" font-size="{SIZE_PT[kind]:g}"']
    if kind in {"condition", "effect"} and not style.faint:
        shown.append(f'fill="{INK[kind]}"')
    if kind == "condition":
        shown.append('font-style="italic"')
    elif kind in {"name", "note"}:
        shown.append('font-weight="bold"')
    return f"<tspan {' '.join(shown)}>{_text(said)}</tspan>"


def _rect(frame: Frame, more: str) -> str:
    left, top, width, height = frame
    return f'<rect x="{left:.2f}" y="{top:.2f}" width="{width:.2f}" height="{height:.2f}" {more}/>'


def _shrunk(frame: Frame, by: float) -> Frame:
    left, top, width, height = frame
    return Frame(left + by, top + by, width - 2 * by, height - 2 * by)


def _path(curve: Curve) -> str:
    start, *rest = (f"{x:.2f},{y:.2f}" for x, y in curve.points)
    return f"M{start}C{' '.join(rest)}"


def _head(curve: Curve, width: float) -> str:
    assert curve.tip is not None
    (x, y), (from_x, from_y) = curve.tip, curve.points[-1]
    half = _HEAD_HALF_PT + _HEAD_GROWS * width
    far = math.hypot(x - from_x, y - from_y) or 1.0
    ahead = ((x - from_x) / far, (y - from_y) / far)
    foot = (from_x - ahead[0], from_y - ahead[1])  # a little on the line: no gap may show
    sides: list[Point] = [
        (foot[0] + ahead[1] * half, foot[1] - ahead[0] * half),
        (x, y),
        (foot[0] - ahead[1] * half, foot[1] + ahead[0] * half),
    ]
    return "M" + "L".join(f"{each[0]:.2f},{each[1]:.2f}" for each in sides) + "Z"


def _text(said: str) -> str:
    return escape(storable(said), {'"': "&quot;"})
