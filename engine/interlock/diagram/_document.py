"""What the exports for other interpreters share: names that every one of them can read.

Other tools take a name for an identifier of XML, of JavaScript or of Python, and some keep
names for themselves.  So each phase, trigger and guard has a document name here, made of
ASCII letters, digits and underscores, and each row an id made of those.  Names that are plain
already (all of ours are) stay as they are.
"""

import dataclasses
import keyword
import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from interlock._effects import ArmTimer, Effect
from interlock._guards import Guard
from interlock._phases import Phase, Trigger
from interlock._record import TIMER_TRIGGER
from interlock._transitions import Row

#: Words that are syntax to Python or to JavaScript: guards stand in expressions.
_SYNTAX: Final = """
    catch case const default delete do enum export extends false function instanceof let new null
    super switch this throw true typeof undefined var void
"""
#: What python-statemachine keeps in the data of an event, and XState among the guards.
_OF_EVENTS: Final = """
    and delay event event_data get internal machine model not or self send_id source state
    statein target transition v
"""
#: Attributes of a machine of python-statemachine, which makes one of each phase and trigger.
_OF_MACHINES: Final = """
    activate_initial_state active_listeners add_listener allow_event_without_transition
    allowed_events atomic_configuration_update bind_events_to cancel_event catch_errors_as_events
    configuration configuration_values current_state current_state_value
    enable_self_transition_entries enabled_events error events id is_terminated model name prepare
    raise_ send start_configuration_values state states states_map transitionnotallowed
"""
_NOT_PLAIN: Final = re.compile("[^A-Za-z0-9_]+")
#: Signs that XML cannot hold at all, and those that no file in UTF-8 can.
_NOT_TEXT: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_Thing = TypeVar("_Thing", bound=Hashable)


class Declared(Protocol):
    """A table with its phases in the order of a life: a `Lifecycle`, or one not so sound."""

    @property
    def table(self) -> Sequence[Row]:
        """The rows, in order of evaluation."""
        ...

    @property
    def phases(self) -> Sequence[Phase]:
        """Every phase that the table knows."""
        ...


class Names:
    """The document names of everything that a lifecycle declares; one to one."""

    def __init__(self, declared: Declared) -> None:
        table = declared.table
        self.phases: Final[dict[Phase, str]] = _plain(
            ((each, each.value) for each in declared.phases), _OF_MACHINES
        )
        self.triggers: Final[dict[Trigger, str]] = _plain(
            ((row.trigger, row.trigger.value) for row in table), _OF_MACHINES
        )
        # By identity: two modules may each have a guard of the same name.
        self.guards: Final[dict[Guard, str]] = _plain(
            ((guard, guard.name) for row in table for guard in guards_of(row)),
            _OF_EVENTS,
        )
        #: `source.trigger.dest`; the row that makes a task has no source.
        self.rows: Final[dict[Row, str]] = _numbered((row, self._id_of(row)) for row in table)

    def _id_of(self, row: Row) -> str:
        source = "" if row.source is None else self.phases[row.source]
        return f"{source}.{self.triggers[row.trigger]}.{self.phases[row.dest]}"


def guards_of(row: Row) -> tuple[Guard, ...]:
    """All that must hold for the row to be taken, in order of evaluation."""
    return row.requires if row.when is None else (*row.requires, row.when)


def beginning(declared: Declared) -> Row:
    """The row that makes a task.

    Raises:
        ValueError: the table has none, or several.
    """
    made = [row for row in declared.table if row.source is None]
    if len(made) != 1:
        raise ValueError(f"a table has one row that makes a task, and this one {len(made)}")
    return made[0]


def leaving(declared: Declared) -> dict[Phase, list[Row]]:
    """The rows of each phase, in order of evaluation; a phase without any is final."""
    rows: dict[Phase, list[Row]] = {phase: [] for phase in declared.phases}
    for row in declared.table:
        if row.source is not None:
            rows[row.source].append(row)
    return rows


def settings_of(effect: Effect) -> dict[str, Any]:
    """What an effect says beyond its kind: the fields that are not as they come."""
    return {
        field.name: getattr(effect, field.name)
        for field in dataclasses.fields(effect)
        if getattr(effect, field.name) != field.default
    }


def effect_text(effect: Effect) -> str:
    """An effect as the specs write it: `Publish`, `ArmTimer(run)`, `StartTurn(replay)`."""
    said = [name if value is True else str(value) for name, value in settings_of(effect).items()]
    return text(type(effect).__name__ + (f"({', '.join(said)})" if said else ""))


def timers(declared: Declared) -> dict[str, str]:
    """The trigger that each timer fires which the table arms."""
    armed = {
        effect.kind: TIMER_TRIGGER[effect.kind].value
        for row in declared.table
        for effect in row.effects
        if isinstance(effect, ArmTimer)
    }
    return {kind.value: trigger for kind, trigger in armed.items()}


def explained(guard: Guard) -> str:
    """What a guard says when it refuses; one that only chooses between rows says its name."""
    return text(guard.explanation or guard.name.replace("_", " "))


def text(anything: str) -> str:
    """As it is, but for signs that a document cannot hold."""
    return _NOT_TEXT.sub("\ufffd", anything)


def _plain(things: Iterable[tuple[_Thing, str]], kept: str) -> dict[_Thing, str]:
    reserved = {word.lower() for word in (*keyword.kwlist, *_SYNTAX.split(), *kept.split())}
    return _numbered((thing, _identifier(name, reserved)) for thing, name in things)


def _identifier(name: str, reserved: set[str]) -> str:
    plain = _NOT_PLAIN.sub("_", name)
    if not plain[:1].isalpha():
        plain = f"x{plain}"
    return f"{plain}_" if plain.lower() in reserved else plain


def _numbered(things: Iterable[tuple[_Thing, str]]) -> dict[_Thing, str]:
    """Each thing once, under a name that no other has: the second of a name is `name_2`.

    Names that differ in capitals or underscores only are one name to some tools.
    """
    names: dict[_Thing, str] = {}
    taken: set[str] = set()
    for thing, name in things:
        if thing in names:
            continue
        unique, number = name, 1
        while (heard := unique.replace("_", "").lower()) in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(heard)
        names[thing] = unique
    return names
