"""The picture as PlantUML text, with its groups drawn around their phases."""

from collections.abc import Iterator
from typing import Final

from interlock.diagram._dot import (
    COLOURS,
    area_is_drawn,
    colour_of_line,
    fill_of_box,
    width_of_line,
)
from interlock.diagram._lines import Line, lines_of, plain
from interlock.diagram._look import Look
from interlock.diagram._picture import Arrow, Box, Picture

#: Signs that mean nothing to PlantUML; others are written by their number.
_PLAIN: Final = frozenset(" ,.()[]+")
#: A sign that means something only beside another of its kind: `--` strikes out.
_SINGLE: Final = frozenset("-_/")


def plantuml_of(picture: Picture, look: Look) -> str:
    """The picture as a state diagram of PlantUML, in the order of the table."""
    lines = ["@startuml", "hide empty description", f"title {_escaped(look.title)}"]
    for cluster in picture.clusters:
        boxes = [line for box in cluster.boxes for line in _box(box, look)]
        if area_is_drawn(cluster):
            area, border, _ = COLOURS[cluster.group]
            name = cluster.group.value
            lines.append(f'state "{name}" as group_{name} {area};line:{border[1:]} {{')
            lines += [f"  {line}" for line in boxes]
            lines.append("}")
        else:
            lines += boxes
    lines += [_arrow(arrow, look) for arrow in picture.arrows]
    lines += [f"{_alias(box)} --> [*]" for box in picture.boxes if box.final]
    return "\n".join([*lines, "@enduml"]) + "\n"


def _box(box: Box, look: Look) -> Iterator[str]:
    style = look.of(box.id)
    drawn = f"{fill_of_box(box, style)};line:{colour_of_line(style)[1:]}"
    drawn += ";line.dashed" * style.dashed
    yield f'state "{_escaped(box.name)}" as {_alias(box)} {drawn}'
    for line in lines_of(box.stays, style.note):
        yield f"{_alias(box)} : {_written(line)}"


def _arrow(arrow: Arrow, look: Look) -> str:
    style = look.of(arrow.id)
    drawn = f"{colour_of_line(style)}{',dashed' * style.dashed}"
    if style.width is not None:
        drawn += f",thickness={width_of_line(style):g}"
    start = "[*]" if arrow.source is None else _alias(arrow.source)
    label = "\\n".join(_written(line) for line in lines_of(arrow.clauses, style.note))
    return f"{start} -[{drawn}]-> {_alias(arrow.dest)} : {label}"


def _alias(box: Box) -> str:
    return box.id.replace("-", "_")


def _written(line: Line) -> str:
    return _escaped(plain(line))


def _escaped(text: str) -> str:
    """As text that PlantUML takes for text: its own markup is made of pairs of signs."""
    signs: list[str] = []
    for index, sign in enumerate(text):
        alone = sign in _SINGLE and sign not in {
            text[index - 1 : index],
            text[index + 1 : index + 2],
        }
        shown = sign.isalnum() or sign in _PLAIN or alone
        signs.append(sign if shown else f"<U+{ord(sign):04X}>")
    return "".join(signs)
