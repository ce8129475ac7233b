"""The lifecycle drawn and exported, from the one table.

Everything here takes a `Lifecycle`, or a `Picture` of one, and a `Look`: what differs from the
neutral drawing.  The same table and look give the same bytes.  SVG and PNG need the extra
`interlock[diagram]`, which brings Graphviz along; no program of the system is called.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from interlock._event import Event
from interlock._transitions import Key
from interlock.diagram._document import Declared
from interlock.diagram._dot import dot_of
from interlock.diagram._graphviz import GraphvizMissing, png_of
from interlock.diagram._hits import hits_of, hits_of_json, hits_to_json
from interlock.diagram._layers import coverage, difference, path_of, population
from interlock.diagram._look import NEUTRAL, Look, Style
from interlock.diagram._markdown import table
from interlock.diagram._mermaid import mermaid_of
from interlock.diagram._page import page_of
from interlock.diagram._part import Part, simplified, taken
from interlock.diagram._picture import Arrow, Box, Clause, Cluster, Picture, picture_of
from interlock.diagram._plantuml import plantuml_of
from interlock.diagram._scxml import scxml
from interlock.diagram._svg import svg_of
from interlock.diagram._xstate import xstate

__all__ = [
    "NEUTRAL",
    "Arrow",
    "Box",
    "Clause",
    "Cluster",
    "Declared",
    "Drawable",
    "GraphvizMissing",
    "Key",
    "Look",
    "Part",
    "Picture",
    "Style",
    "coverage",
    "difference",
    "dot",
    "hits_of",
    "hits_of_json",
    "hits_to_json",
    "mermaid",
    "page",
    "path_of",
    "picture_of",
    "plantuml",
    "png",
    "population",
    "scxml",
    "simplified",
    "svg",
    "table",
    "taken",
    "xstate",
]

_NO_LAYERS: Final[Mapping[str, Look]] = MappingProxyType({})

#: What is drawn.
Drawable: TypeAlias = Declared | Picture

#: The picture is then some 2000 pixels wide: sharp on a page and on a screen.
DOTS_PER_INCH: Final = 110


def mermaid(what: Drawable, look: Look = NEUTRAL) -> str:
    """A Mermaid state diagram.  Of arrows it shows what a look says in notes, and no colours."""
    return mermaid_of(_picture(what), look)


def plantuml(what: Drawable, look: Look = NEUTRAL) -> str:
    """A state diagram of PlantUML."""
    return plantuml_of(_picture(what), look)


def dot(what: Drawable, look: Look = NEUTRAL) -> str:
    """A graph for Graphviz; it has all sizes in it, so the layout needs no certain fonts."""
    return dot_of(_picture(what), look)


def svg(what: Drawable, look: Look = NEUTRAL) -> str:
    """An SVG document, in pixels, with an `id` and a `class` on everything.

    Raises:
        GraphvizMissing: pygraphviz is not installed.
    """
    return svg_of(_picture(what), look)


def png(what: Drawable, look: Look = NEUTRAL, *, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """A PNG, in the fonts of this machine.

    Raises:
        GraphvizMissing: pygraphviz is not installed.
    """
    return png_of(dot(what, look), dots_per_inch=dots_per_inch)


def page(
    what: Drawable,
    layers: Mapping[str, Look] = _NO_LAYERS,
    events: Sequence[Event] = (),
    title: str = NEUTRAL.title,
) -> str:
    """One HTML file that loads nothing: the picture, a switch for layers, and a log to replay.

    Of the events it holds what happened and how long after the first, and nothing else.

    Raises:
        KeyError: an event is no row of the lifecycle.
        GraphvizMissing: pygraphviz is not installed.
    """
    return page_of(_picture(what), layers, events, title)


def _picture(what: Drawable) -> Picture:
    return what if isinstance(what, Picture) else picture_of(what)
