"""A lifecycle with names that no other tool would take, for the tests of exports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interlock._changes import unchanged
from interlock._effects import Publish, StartTurn
from interlock._guards import Guard
from interlock._phases import Phase, Trigger
from interlock._transitions import Row


@dataclass(frozen=True)
class Table:
    """Rows and phases that nobody checked."""

    table: Sequence[Row]
    phases: Sequence[Phase]


def phase(name: str) -> Phase:
    """A phase that is not one of ours."""
    made = str.__new__(Phase, name)
    made._name_, made._value_, made.kin = name, name, made
    return made


def trigger(name: str) -> Trigger:
    """A trigger that is not one of ours."""
    made = str.__new__(Trigger, name)
    made._name_, made._value_ = name, name
    return made


def guard(name: str, explanation: str = "") -> Guard:
    """A guard of that name."""
    return Guard(name, lambda _record, _signal: True, explanation)


#: Syntax, spaces, other scripts, what ends a comment or an attribute, and what is no text.
NASTY: Final = (
    "waiting payment", "waiting_payment", "class", "a.b", "a-b", "1st", "_x", "__class__", "send",
    "états", "]]>", 'say "no" & <go>', "it's -- so --->", "\x00", "\ud800", "", "\\", "*", "true",
    "event", "v", "line\nbreak",
)  # fmt: skip


def nasty() -> Table:
    """From one nastily named phase to the next, and on the spot, by nasty triggers and guards."""
    phases = [phase(name) for name in NASTY]
    rows = [Row(trigger("submit"), None, phases[0], unchanged)]
    for name, source, dest in zip(NASTY, phases, phases[1:], strict=False):
        fired = trigger(name)
        first, second = guard(name, f"not {name}"), guard(name)
        rows += [
            Row(fired, source, source, unchanged, (StartTurn(replay=True),), (first,), second),
            Row(fired, source, dest, unchanged, (Publish(),), (first,)),
        ]
    return Table(rows, phases)
