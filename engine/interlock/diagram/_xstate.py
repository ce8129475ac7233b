"""The lifecycle as JSON of XState 5, which Stately draws and simulates.

Guards and actions are named, not written: whoever runs the machine brings one implementation
for all guards (`params.all` are those whose truth the event carries in `holds`), one for
`row` and one for each effect.  What the format has no place for is in `meta`.
"""

import json
from typing import Any, Final, TypeAlias, cast

from interlock._effects import Effect
from interlock._guards import Guard
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
    settings_of,
    text,
    timers,
)

#: What fits this is written on one line.
_LINE_CHARS_MAX: Final = 96

_Json: TypeAlias = dict[str, Any]


def xstate(lifecycle: Declared) -> str:
    """The lifecycle as a machine configuration of XState, in the order of the table.

    Raises:
        ValueError: the table has not exactly one row that makes a task.
    """
    names, begin = Names(lifecycle), beginning(lifecycle)
    document: _Json = {
        "id": "task",
        "description": "The life of a task, generated from its table of transitions.",
        "initial": names.phases[begin.dest],
        "meta": {
            "begins": {
                "trigger": text(begin.trigger.value),
                "effects": [effect_text(effect) for effect in begin.effects],
            },
            "guards": {name: explained(guard) for guard, name in names.guards.items()},
            "timers": timers(lifecycle),
        },
        "states": {
            names.phases[phase]: _state(phase, rows, names)
            for phase, rows in leaving(lifecycle).items()
        },
    }
    return _written(document, "") + "\n"


def _state(phase: Phase, rows: list[Row], names: Names) -> _Json:
    state: _Json = {"meta": {"group": group_of(phase).value}}
    if names.phases[phase] != phase.value:
        state["description"] = text(phase.value)
    if not rows:
        return {"type": "final", **state}
    on: dict[str, list[_Json]] = {}
    for row in rows:
        on.setdefault(names.triggers[row.trigger], []).append(_transition(row, names))
    return {**state, "on": on}


def _transition(row: Row, names: Names) -> _Json:
    transition: _Json = {"target": names.phases[row.dest]}
    if row.source is row.dest:
        transition["reenter"] = True
    guards = guards_of(row)
    if guards:
        needed = [names.guards[guard] for guard in guards]
        transition["guard"] = {"type": " and ".join(needed), "params": {"all": needed}}
        transition["description"] = "; ".join(
            _condition(guard, chooses=guard is row.when) for guard in guards
        )
    called = {"params": {"id": names.rows[row]}}
    transition["actions"] = [{"type": "row", **called}, *map(_action, row.effects)]
    if names.triggers[row.trigger] != row.trigger.value:
        transition["meta"] = {"name": text(row.trigger.value)}
    return transition


def _condition(guard: Guard, *, chooses: bool) -> str:
    words = text(guard.name.replace("_", " "))
    return f"if {words}" if chooses else f"{words}, or: {explained(guard)}"


def _action(effect: Effect) -> _Json:
    settings = settings_of(effect)
    action: _Json = {"type": type(effect).__name__}
    if settings:
        action["params"] = {
            name: value if isinstance(value, bool) else text(str(value))
            for name, value in settings.items()
        }
    return action


def _written(value: object, margin: str) -> str:
    """JSON with one line for whatever fits one, so that a diff shows what moved."""
    line = json.dumps(value, ensure_ascii=False)
    if len(margin) + len(line) <= _LINE_CHARS_MAX or not isinstance(value, dict | list):
        return line
    deeper = margin + "  "
    if isinstance(value, dict):
        fields = cast("_Json", value)
        start, end = "{}"
        parts = [f"{_written(name, '')}: {_written(part, deeper)}" for name, part in fields.items()]
    else:
        entries = cast("list[object]", value)
        start, end = "[]"
        parts = [_written(part, deeper) for part in entries]
    return f"{start}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{margin}{end}"
