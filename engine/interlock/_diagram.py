"""The table as a picture: Mermaid text, which forges and editors draw.

Rows between the same two phases share one arrow, and triggers under the same condition share
one line of its label.  Rows that stay in their phase are written into its box.  So sixty rows
make some thirty arrows, and the picture can be read.
"""

import textwrap
from collections.abc import Sequence
from typing import Final

from interlock._machine import Lifecycle
from interlock._phases import Phase
from interlock._transitions import Row

#: Longer lines are broken: labels that are wider than the boxes cover each other.
_LINE_CHARS_MAX: Final = 26
#: Signs that mean nothing to Mermaid; others are written by their number.
_PLAIN: Final = frozenset(" _-,.()")


def mermaid(lifecycle: Lifecycle) -> str:
    """The lifecycle as a Mermaid state diagram, in the order of the table."""
    arrows: dict[tuple[Phase | None, Phase], list[Row]] = {}
    for row in lifecycle.table:
        arrows.setdefault((row.source, row.dest), []).append(row)
    lines = ["stateDiagram-v2"]
    boxes: list[str] = []
    for (source, dest), rows in arrows.items():
        name, label = _identifier(dest), _label(rows, lifecycle.table)
        if source is dest:
            boxes += [f"    {name}: {dest}", f"    {name}: {label}"]
        else:
            start = "[*]" if source is None else _identifier(source)
            lines.append(f"    {start} --> {name}: {label}")
    left = {source for source, _ in arrows}
    lines += [f"    {_identifier(phase)} --> [*]" for phase in Phase if phase not in left]
    return "\n".join([*lines, *boxes]) + "\n"


def _label(rows: Sequence[Row], table: Sequence[Row]) -> str:
    """The triggers of an arrow, by their condition."""
    by_condition: dict[str, list[str]] = {}
    for row in rows:
        by_condition.setdefault(_condition(row, table), []).append(_escaped(row.trigger))
    lines: list[str] = []
    for condition, triggers in by_condition.items():
        lines += textwrap.wrap(", ".join(triggers), _LINE_CHARS_MAX, break_long_words=False)
        lines += [f"[{condition}]"] if condition else []
    return "<br/>".join(lines)


def _condition(row: Row, table: Sequence[Row]) -> str:
    if row.when is not None:
        return _escaped(row.when.name.replace("_", " "))
    pair = (row.source, row.trigger)
    alone = sum((other.source, other.trigger) == pair for other in table) == 1
    return "" if alone else "else"


def _identifier(phase: Phase) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else "_" for sign in phase.value)


def _escaped(text: str) -> str:
    return "".join(sign if sign.isalnum() or sign in _PLAIN else f"#{ord(sign)};" for sign in text)
