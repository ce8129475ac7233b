"""Where lives ended: by what was last asked of those that did not complete."""

from collections.abc import Sequence
from typing import Final

from interlock._event import Event
from interlock._memory import OPERATOR
from interlock._phases import OUTCOMES, Phase, Trigger

#: Where nobody was asked anything.
BEFORE: Final = "before the first ask"


def place_of(log: Sequence[Event]) -> str | None:
    """Where a life ended; None if it completed, or is not over."""
    outcome = next((event.dest for event in reversed(log) if event.dest in OUTCOMES), None)
    if outcome in (None, Phase.COMPLETED):
        return None
    closed: set[str] = set()
    for event in reversed(log):
        key = str(event.data.get("key", ""))
        if event.trigger in {Trigger.PROVIDE_INPUT, Trigger.APPROVE}:
            closed.add(key)
        if event.trigger is Trigger.ASK and not key.startswith(OPERATOR):
            return f"after ask {key!r}" if key in closed else f"at ask {key!r}"
    return BEFORE
