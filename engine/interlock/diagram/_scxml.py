"""The lifecycle as SCXML, the W3C's notation: for Qt, SCION, python-statemachine, smcat.

Guards travel as data of the event: they are pure, so whoever runs the document evaluates ours
and sends what each came to, and no language of expressions crosses the border.  A log entry
tells which row was taken and what it asks of the world.  Nothing here is for one tool alone,
which is why a self transition has no `type` (python-statemachine refuses it on some) and no
condition needs a `not` (ECMAScript and Python write it differently; the order of rows says it).
"""

import re
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import quoteattr

from interlock._phases import Phase, group_of
from interlock._transitions import Row
from interlock.diagram._document import (
    Declared,
    Names,
    beginning,
    effect_text,
    explained,
    guards_of,
    leaving,
    text,
    timers,
)

_HEAD: Final = """\
The life of a task, generated from its table of transitions: do not edit.

To run it, send with each event, as its data, what each guard named below came to (true or
false).  Of the transitions of one event the first whose condition holds is taken.  The log
tells which row was taken ('row') and what is to be done then ('effect')."""


def scxml(lifecycle: Declared) -> str:
    """The lifecycle as an SCXML document, in the order of the table.

    Raises:
        ValueError: the table has not exactly one row that makes a task.
    """
    names = Names(lifecycle)
    begin = beginning(lifecycle)
    initial = names.phases[begin.dest]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        *_comment(lifecycle, names, begin),
        '<scxml xmlns="http://www.w3.org/2005/07/scxml" xmlns:interlock="urn:interlock:lifecycle"',
        f'       version="1.0" datamodel="ecmascript" name="task" initial="{initial}">',
    ]
    for phase, rows in leaving(lifecycle).items():
        lines += _state(phase, rows, names)
    return "\n".join([*lines, "</scxml>"]) + "\n"


def _comment(lifecycle: Declared, names: Names, begin: Row) -> Iterator[str]:
    made = ", ".join(map(effect_text, begin.effects)) or "nothing"
    said = [_HEAD, "", f"A task begins by {begin.trigger}, which asks for: {made}.", "", "Guards:"]
    said += [f"  {name}: {explained(guard)}" for guard, name in names.guards.items()]
    said += ["", "Timers:"]
    said += [f"  {kind} fires {trigger}" for kind, trigger in timers(lifecycle).items()]
    # Two hyphens would end the comment.
    yield "<!--\n" + re.sub("-(?=-)", "- ", text("\n".join(said))) + "\n-->"


def _state(phase: Phase, rows: list[Row], names: Names) -> Iterator[str]:
    name = names.phases[phase]
    # An SCXML interpreter stops in a top-level final state, as a task does that nothing follows.
    kind = "state" if rows else "final"
    head = f'  <{kind} id="{name}"{_called(phase, name)} interlock:group="{group_of(phase)}"'
    if not rows:
        yield f"{head}/>"
        return
    yield f"{head}>"
    for row in rows:
        yield from _transition(row, names)
    yield f"  </{kind}>"


def _transition(row: Row, names: Names) -> Iterator[str]:
    trigger = names.triggers[row.trigger]
    parts = [f'    <transition event="{trigger}"{_called(row.trigger, trigger)}']
    guards = [f"_event.data.{names.guards[guard]}" for guard in guards_of(row)]
    if guards:
        parts.append(f"cond={quoteattr(' && '.join(guards))}")
    parts.append(f'target="{names.phases[row.dest]}">')
    yield " ".join(parts)
    yield f"""      <log label="row" expr="'{names.rows[row]}'"/>"""
    for effect in row.effects:
        yield f'      <log label="effect" expr={quoteattr(_literal(effect_text(effect)))}/>'
    yield "    </transition>"


def _called(original: str, name: str) -> str:
    """The name in the table, where it is not the name in the document."""
    return "" if str(original) == name else f" interlock:name={quoteattr(text(str(original)))}"


def _literal(said: str) -> str:
    """A string in ECMAScript, and in Python."""
    quoted = said.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + quoted.replace("\r", "\\r").replace("\n", "\\n") + "'"
