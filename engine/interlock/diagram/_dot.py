"""The picture in DOT, the language of Graphviz, laid out so that nothing covers anything.

What is written on an arrow is a node in the middle of it: Graphviz keeps nodes apart, but lets
its own edge labels cover each other.  Arrows that lead back in a task's life are declared the
other way round, so that they take the same short way.  Every size is said here: the layout is
the same whatever fonts there are.  Everything has an `id` or a `class` that Graphviz hands on.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from interlock._phases import Group
from interlock.diagram._document import text as storable
from interlock.diagram._lines import (
    SIZE_PT,
    Kind,
    Line,
    height_pt,
    line_pt,
    lines_of_arrow,
    lines_of_box,
    lines_of_caption,
    width_pt,
)
from interlock.diagram._look import Look, Style
from interlock.diagram._picture import Arrow, Box, Cluster, Picture

FONT: Final = "Helvetica,Arial,sans-serif"
#: Of a group: its area, the border of that, and its boxes inside.
COLOURS: Final[dict[Group, tuple[str, str, str]]] = {
    Group.LIVE: ("#eef4fb", "#c4d7ee", "#d3e5f9"),
    Group.WAITING: ("#fff7e6", "#efdcae", "#ffe6b0"),
    Group.STOPPING: ("#fcefef", "#ebc9c9", "#f8d4d4"),
    Group.OUTCOME: ("#f0f6ef", "#c8dcc5", "#dbebd8"),
    Group.END: ("#f3f3f5", "#cfcfd6", "#e4e4ea"),
}
INK: Final[dict[Kind, str]] = {
    "name": "#16202c",
    "trigger": "#16202c",
    "condition": "#1f5fa8",
    "effect": "#66707c",
    "note": "#16202c",
}
LINE: Final = "#5b6673"
FAINT: Final = "#b3bcc6"
FAINT_FILL: Final = "#ffffff"
LINE_WIDTH_PT: Final = 1.3
GROUP_LABEL_PT: Final = (64, 16)
#: The node from which a task comes, in points across.
ORIGIN: Final = "state-new"
ORIGIN_PT: Final = 15

#: Between the edge of a box, or of the room for a label, and the text, in points.
_BOX_PAD_PT: Final = (10.0, 6.0)
_LABEL_PAD_PT: Final = (3.0, 1.0)
#: Groups whose boxes stand side by side: a task is in one of them.  Arrows come from above, so
#: the name of the group is below.
SIDE_BY_SIDE: Final = frozenset({Group.WAITING, Group.OUTCOME})
#: More boxes than these side by side are a crowd.
_CROWD: Final = 2
_POINTS_PER_INCH: Final = 72
_SPACED: Final = "rankdir=TB, newrank=true, nodesep=0.18, ranksep=0.26"
_TABLE: Final = 'BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"'


def dot_of(picture: Picture, look: Look) -> str:
    """The picture as a graph for Graphviz, in the order of the table."""
    caption = lines_of_caption(look.title, picture.legend)
    return _graph(picture, look, f"labelloc=b, label={_table(caption, width_pt(caption), Style())}")


def layout_dot(picture: Picture, look: Look) -> str:
    """The same graph without a word in it, for the places alone: it needs no fonts."""
    return _graph(picture, look, 'label=""', silent=True)


def _graph(picture: Picture, look: Look, label: str, *, silent: bool = False) -> str:
    routes = _Routes(picture)
    origin = f'id="{ORIGIN}", class="origin", shape=circle, {_size(ORIGIN_PT, ORIGIN_PT)}'
    lines = [
        "digraph lifecycle {",
        f'  graph [{_SPACED}, bgcolor=white, outputorder=edgesfirst, fontname="{FONT}", {label}];',
        f'  node [shape=box, fixedsize=true, margin=0, label="", fontname="{FONT}"];',
        "  edge [arrowsize=0.8];",
        f'  "{ORIGIN}" [{origin}, style=filled, fillcolor="{INK["name"]}"];',
    ]
    for cluster in picture.clusters:
        lines += _cluster(cluster, look, silent=silent)
    for arrow in picture.arrows:
        lines += _arrow(arrow, look.of(arrow.id), routes, silent=silent)
    return "\n".join([*lines, "}"]) + "\n"


def area_is_drawn(cluster: Cluster) -> bool:
    """Whether there is something to hold together."""
    return len(cluster.boxes) > 1


def _cluster(cluster: Cluster, look: Look, *, silent: bool) -> Iterator[str]:
    boxes = [_box(box, look.of(box.id), silent=silent) for box in cluster.boxes]
    if not area_is_drawn(cluster):
        yield from (f"  {box}" for box in boxes)
        return
    area, border, _ = COLOURS[cluster.group]
    side_by_side = cluster.group in SIDE_BY_SIDE
    width, height = GROUP_LABEL_PT
    room = f'<TD FIXEDSIZE="TRUE" WIDTH="{width}" HEIGHT="{height}">'
    said = f'<FONT COLOR="{INK["effect"]}" POINT-SIZE="12">{cluster.group.value}</FONT>'
    said = "" if silent else said
    attributes = (
        f'id="{cluster.id}"',
        f'class="cluster {cluster.id}"',
        f"labelloc={'b' if side_by_side else 't'}",
        "labeljust=l",
        f"label=<<TABLE {_TABLE}><TR>{room}{said}</TD></TR></TABLE>>",
        'style="rounded,filled"',
        f'color="{border}"',
        f'fillcolor="{area}"',
        "margin=10",
    )
    yield f'  subgraph "cluster_{cluster.group.value}" {{'
    yield f"    graph [{', '.join(attributes)}];"
    yield from (f"    {box}" for box in boxes)
    if side_by_side:
        named = "; ".join(f'"{box.id}"' for box in cluster.boxes)
        yield f"    {{ rank=same; {named} }}"
    yield "  }"


def _box(box: Box, style: Style, *, silent: bool) -> str:
    lines = lines_of_box(box, style.note)
    fill = fill_of_box(box, style)
    attributes = [
        f'id="{box.id}"',
        f'class="{classes("state", box.group, style)}"',
        _size(*box_size_pt(lines)),
        *([] if silent else [f"label={_table(lines, width_pt(lines), style)}"]),
        'style="rounded,filled,dashed"' if style.dashed else 'style="rounded,filled"',
        f'fillcolor="{fill}"',
        _stroke(style),
        *(["peripheries=2"] if box.final else []),
    ]
    return f'"{box.id}" [{", ".join(attributes)}];'


def _arrow(arrow: Arrow, style: Style, routes: "_Routes", *, silent: bool) -> Iterator[str]:
    lines = lines_of_arrow(arrow, style.note)
    label = [
        f'id="{arrow.id}"',
        f'class="{classes("label", arrow.dest.group, style)}"',
        "shape=plaintext",
        _size(*label_size_pt(lines)),
        *([] if silent else [f"label={_table(lines, width_pt(lines), style)}"]),
    ]
    drawn = f'class="{classes("move", arrow.dest.group, style)} {arrow.id}", {_stroke(style)}'
    drawn += ", style=dashed" * style.dashed
    yield f'  "{arrow.id}" [{", ".join(label)}];'
    for start, end, how in routes.of(arrow):
        yield f'  "{start}" -> "{end}" [{", ".join([*how, drawn])}];'


class _Routes:
    """Which way round the two halves of each arrow are declared, and how far they go."""

    def __init__(self, picture: Picture) -> None:
        self._order: Final = {box.id: index for index, box in enumerate(picture.boxes)}
        #: Boxes side by side with so much between them that one row of labels is too wide.
        self._crowded: Final = {
            box.id
            for cluster in picture.clusters
            if cluster.group is Group.WAITING and len(cluster.boxes) > _CROWD
            for box in cluster.boxes
        }

    def of(self, arrow: Arrow) -> Iterator[tuple[str, str, list[str]]]:
        """Each half: where it starts, where it ends, and how it is drawn."""
        source = ORIGIN if arrow.source is None else arrow.source.id
        dest = arrow.dest.id
        back = self._order[dest] < self._order.get(source, -1)
        near, far = [["minlen=2"] * (end in self._crowded) for end in (source, dest)]
        if {source, dest} <= self._crowded:
            # Those that lead on are below the boxes and those that lead back above, each next to
            # them; all that leads elsewhere is one row further.
            if back:
                yield arrow.id, source, ["dir=none"]
                yield arrow.id, dest, []
                return
            near = far = []
        if back:
            yield dest, arrow.id, ["dir=back", *far]
            yield arrow.id, source, ["dir=none", *near]
            return
        if arrow.source is None or arrow.source.group is Group.LIVE:
            # The usual way of a task is drawn straight, and the exceptions around it.
            usual = arrow.dest.group in {Group.LIVE, Group.WAITING}
            near, far = [*near, *["weight=4"] * usual], [*far, *["weight=4"] * usual]
        yield source, arrow.id, ["dir=none", *near]
        yield arrow.id, dest, far


def box_size_pt(lines: Sequence[Line]) -> tuple[float, float]:
    """Width and height of a box with these lines, in points."""
    across, down = _BOX_PAD_PT
    return round(width_pt(lines) + 2 * across), round(height_pt(lines) + 2 * down)


def label_size_pt(lines: Sequence[Line]) -> tuple[float, float]:
    """Width and height of the room for a label of these lines, in points."""
    across, down = _LABEL_PAD_PT
    return round(width_pt(lines) + 2 * across), round(height_pt(lines) + 2 * down)


def classes(what: str, group: Group, style: Style) -> str:
    """The classes of an element, for style sheets."""
    return " ".join(filter(None, (what, f"group-{group.value}", style.kind)))


def fill_of_box(box: Box, style: Style) -> str:
    """The colour of a box inside."""
    return style.fill or (FAINT_FILL if style.faint else COLOURS[box.group][2])


def colour_of_line(style: Style) -> str:
    """The colour of an arrow, or of the border of a box."""
    return style.colour or (FAINT if style.faint else LINE)


def width_of_line(style: Style) -> float:
    """In points."""
    return LINE_WIDTH_PT if style.width is None else style.width


def _stroke(style: Style) -> str:
    return f'color="{colour_of_line(style)}", penwidth={width_of_line(style):g}'


def _size(width: float, height: float) -> str:
    return f"width={width / _POINTS_PER_INCH:.4f}, height={height / _POINTS_PER_INCH:.4f}"


def _table(lines: Sequence[Line], width: float, style: Style) -> str:
    """A table, for it can be told how large it is."""
    rows = "".join(
        f'<TR><TD FIXEDSIZE="TRUE" WIDTH="{width:.0f}" HEIGHT="{line_pt(line):.0f}">'
        f"{_in_fonts(line, style)}</TD></TR>"
        for line in lines
    )
    return f"<<TABLE {_TABLE}>{rows}</TABLE>>"


def _in_fonts(line: Line, style: Style) -> str:
    spans: list[str] = []
    for index, span in enumerate(line):
        colour = FAINT if style.faint else INK[span.kind]
        text = _escaped(" " * (index > 0) + span.text)
        if span.kind in {"name", "note"}:
            text = f"<B>{text}</B>"
        elif span.kind == "condition":
            text = f"<I>{text}</I>"
        spans.append(f'<FONT COLOR="{colour}" POINT-SIZE="{SIZE_PT[span.kind]:g}">{text}</FONT>')
    return "".join(spans)


def _escaped(text: str) -> str:
    """As text of Graphviz's labels of the HTML kind."""
    # Without anything in it, a font would be a syntax error.
    plain = (
        (storable(text) or "\N{NO-BREAK SPACE}")
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )
    return plain.replace('"', "&quot;")
