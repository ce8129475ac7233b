"""The picture as one HTML file that loads nothing: its layers to switch, and a log to replay.

The SVG is drawn once, without a look.  Each layer is style sheets' rules for its ids, so that
nothing moves from one to the next; what a layer notes is listed beside the picture.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Final

from interlock._event import Event
from interlock.diagram._dot import FAINT
from interlock.diagram._layers import elapsed
from interlock.diagram._look import Look, Style
from interlock.diagram._picture import Box, Picture
from interlock.diagram._svg import drawn_with, svg_of
from interlock.models import JsonObject, JsonValue

_MARK: Final = re.compile(r"<!--TITLE-->|<!--PICTURE-->|/\*LAYERS\*/|/\*DATA\*/")

#: What the picture without a layer is called.
PLAIN: Final = "lifecycle"
#: And what goes through a log.
REPLAY: Final = "replay"


def page_of(
    picture: Picture, layers: Mapping[str, Look], events: Sequence[Event], title: str
) -> str:
    """The page; of `events` it holds what happened when, and nothing that was said.

    Raises:
        KeyError: an event is no row of the lifecycle.
        GraphvizMissing: pygraphviz is not installed.
    """
    names = {box.id: box.name for box in picture.boxes}
    for arrow in picture.arrows:
        start = "new" if arrow.source is None else arrow.source.name
        names[arrow.id] = f"{start} \N{RIGHTWARDS ARROW} {arrow.dest.name}"
    shown: list[JsonValue] = [{"name": PLAIN, "title": title, "notes": []}]
    rules: list[str] = []
    for number, (name, look) in enumerate(layers.items(), start=1):
        notes: list[JsonValue] = [
            [each, names[each], look.of(each).note] for each in names if look.of(each).note
        ]
        shown.append({"name": name, "title": look.title, "notes": notes})
        scope = f'body[data-layer="{number}"]'
        rules += (rule for each in names for rule in _rules(scope, each, look.of(each)))
    if events:
        shown.append({"name": REPLAY, "title": "What happened", "notes": [], "replay": True})
    data: JsonObject = {
        "layers": shown,
        "first": len(shown) - 1,
        "events": [_told(picture, event, events[0].at) for event in events],
    }
    template = files("interlock.diagram").joinpath("page.html").read_text(encoding="utf-8")
    parts = {
        "<!--TITLE-->": html.escape(title),
        "<!--PICTURE-->": svg_of(picture, Look(title)),
        "/*LAYERS*/": "\n".join(rules),
        # A text must not end the element that it is in.
        "/*DATA*/": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    }
    # All at once: what is put in one place may look like another.
    return _MARK.sub(lambda mark: parts[mark[0]], template)


def _told(picture: Picture, event: Event, began: float) -> JsonObject:
    way, state = picture.way(event.source, event.dest), picture.box(event.dest)
    return {
        "way": way.id,
        "state": state.id,
        "said": event.trigger.value if isinstance(way, Box) else f"{event.trigger}: {event.dest}",
        "when": elapsed(event.at - began),
    }


def _rules(scope: str, name: str, style: Style) -> Iterator[str]:
    """The rules of a style for one element."""
    # Style sheets want a unit where attributes mean pixels.
    said = [
        f"{what}: {value}{'px' if what == 'stroke-width' else ''}"
        for what, value in drawn_with(style)
    ]
    if said:
        yield f"  {scope} #{name} {{ {'; '.join(said)}; }}"
    if style.faint:
        yield f"  {scope} #{name} text, {scope} #{name} tspan {{ fill: {FAINT}; }}"
    if style.fill:
        yield f"  {scope} #{name} rect:last-of-type {{ fill: {style.fill}; }}"
