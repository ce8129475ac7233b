"""The picture as Mermaid text, which forges and editors draw.

Mermaid draws no arrows between phases of different composite states, so groups are colours here.
"""

from collections.abc import Iterator
from typing import Final

from interlock.diagram._dot import (
    COLOURS,
    FAINT,
    INK,
    LINE,
    colour_of_line,
    fill_of_box,
    width_of_line,
)
from interlock.diagram._lines import Line, lines_of, plain
from interlock.diagram._look import Look
from interlock.diagram._picture import Picture

_INK: Final = INK["name"]
#: Signs that mean nothing to Mermaid; others are written by their number.
_PLAIN: Final = frozenset(" _-,.()/[]+")
#: Words that begin something else than a phase, or end the diagram.
_WORDS: Final = frozenset(
    {"__proto__", "accdescr", "acctitle", "as", "choice", "class", "classdef", "click"}
    | {"constructor", "default", "direction", "end", "fork", "hide", "href", "join", "note"}
    | {"root", "scale", "state", "style"}
)


def mermaid_of(picture: Picture, look: Look) -> str:
    """The picture as a Mermaid state diagram, in the order of the table."""
    names = _identifiers(picture)
    lines = ["stateDiagram-v2"]
    for arrow in picture.arrows:
        start = "[*]" if arrow.source is None else names[arrow.source.id]
        label = _label(lines_of(arrow.clauses, look.of(arrow.id).note))
        lines.append(f"    {start} --> {names[arrow.dest.id]}: {label}")
    lines += [f"    {names[box.id]} --> [*]" for box in picture.boxes if box.final]
    for box in picture.boxes:
        # A second line of its own for what stays in it: the first one is taken for its name.
        lines.append(f"    {names[box.id]}: {_escaped(box.name)}")
        if label := _label(lines_of(box.stays, look.of(box.id).note)):
            lines.append(f"    {names[box.id]}: {label}")
    for cluster in picture.clusters:
        _, _, fill = COLOURS[cluster.group]
        members = ",".join(names[box.id] for box in cluster.boxes)
        lines.append(
            f"    classDef in_{cluster.group.value} fill:{fill},stroke:{LINE},color:{_INK}"
        )
        lines.append(f"    class {members} in_{cluster.group.value}")
    return "\n".join([*lines, *_styled(picture, look, names)]) + "\n"


def _styled(picture: Picture, look: Look, names: dict[str, str]) -> Iterator[str]:
    """Mermaid has styles for boxes only; of arrows a look shows by its notes."""
    for box in picture.boxes:
        style = look.of(box.id)
        if style.is_usual:
            continue
        said = f"fill:{fill_of_box(box, style)},stroke:{colour_of_line(style)}"
        said += f",stroke-width:{width_of_line(style):g}px,color:{FAINT if style.faint else _INK}"
        said += ",stroke-dasharray:5 4" * style.dashed
        yield f"    classDef on_{names[box.id]} {said}"
        yield f"    class {names[box.id]} on_{names[box.id]}"


def _identifiers(picture: Picture) -> dict[str, str]:
    """What each box is called in the text: a word that is not one of Mermaid's."""
    names = {box.id: box.id.removeprefix("state-") for box in picture.boxes}
    for box, name in names.items():
        if name.lower() in _WORDS or not name.strip("_"):
            word = f"{name}x"
            while word in names.values():
                word += "x"
            names[box] = word
    return names


def _label(lines: list[Line]) -> str:
    return "<br/>".join(_escaped(plain(line)) for line in lines)


def _escaped(text: str) -> str:
    """As text of Mermaid's; where there is none, a space that is not passed over."""
    signs = text or "\N{NO-BREAK SPACE}"
    return "".join(sign if sign.isalnum() or sign in _PLAIN else f"#{ord(sign)};" for sign in signs)
